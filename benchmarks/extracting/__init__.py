"""What benchmarks/extract.py is made of."""
