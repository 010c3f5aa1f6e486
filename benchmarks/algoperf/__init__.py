"""Submissions to AlgoPerf, which its own harness runs; README.md says how, and what came out."""
