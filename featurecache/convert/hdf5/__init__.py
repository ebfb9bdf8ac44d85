"""HDF5 files of any layout: a child process says where the numbers lie, and they are read without the library."""
