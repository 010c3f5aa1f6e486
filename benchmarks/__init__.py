"""Benchmarks: each runs alone (`python -m benchmarks.NAME`), prints a table and writes JSON."""
