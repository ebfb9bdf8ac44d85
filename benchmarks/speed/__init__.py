"""What `heads.py` and `gpu.py` are made of: the data, the other side of every comparison, the clock and the rows."""
