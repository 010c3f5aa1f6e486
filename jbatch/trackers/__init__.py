"""Where a run's metrics go: one writer in each file."""
