"""A disk that fails where it is told to, and what a cache must look like afterwards.

The operations of featurecache.disk are replaced one by one, so no root rights, compiler or real crash is needed. The
benchmark `crash.py` runs all points, tests/featurecache/test_crash.py a part of them. A test run imports no file of
the repository by name and a benchmark none of the tests, so the test loads this package by its path.
"""
