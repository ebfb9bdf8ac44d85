"""Parquet files: read in a child process, written a part at a time."""
