"""What benchmarks/cache.py is made of."""
