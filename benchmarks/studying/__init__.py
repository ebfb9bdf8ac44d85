"""What benchmarks/study.py is made of."""
