"""Benchmarks on real data, run by `make bench`; no tests."""
