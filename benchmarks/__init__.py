"""Measure jbatch: each benchmark runs alone (`python -m benchmarks.NAME`) and writes JSON."""
