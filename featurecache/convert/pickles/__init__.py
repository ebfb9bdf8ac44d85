"""Pickles of NumPy arrays, read by a machine that cannot call anything."""
