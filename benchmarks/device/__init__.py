"""What benchmarks/gpu.py is made of: one part of it runs in one process, and all it finds is a line in a file."""
