"""Mutated caches: what they are made from, how they are changed, and what a reader may make of them.

The benchmark reads 100,000 of them in watched processes, the tests a few thousand. Tests and benchmarks import nothing
of each other, so the tests load this package by its path; inside it every import names it in full.
"""
