"""One shard on the disk: its header, the HDF5 file around it, and the protocol by which it is made."""
