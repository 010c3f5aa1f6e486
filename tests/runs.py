"""What a run has left in its directory."""

from pathlib import Path

from jbatch.run.metrics import TIMED, read_metrics


def without_times(directory: Path) -> list[dict]:
    """The lines of its metrics, but for what depends on how fast it went."""
    lines = read_metrics(directory / "metrics.jsonl")
    return [{name: v for name, v in line.items() if name not in TIMED} for line in lines]
