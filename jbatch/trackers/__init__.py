"""Writers of a run's metrics, one per file."""
