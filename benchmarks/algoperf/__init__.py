"""Submissions to AlgoPerf, which its own harness runs (docs/algoperf.md)."""
