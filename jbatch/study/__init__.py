"""Train many runs: comparisons and sweeps."""
