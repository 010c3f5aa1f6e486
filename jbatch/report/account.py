"""Describe a finished run in a few lines."""

from pathlib import Path

from jbatch.run.goodput import account_text, read_account
from jbatch.run.metrics import read_metrics, scores_of, scores_text
from jbatch.run.run import Run


def account(run: Run, directory: Path) -> str:
    """Return the run's result, and how its time was spent, as text."""
    lines = read_metrics(directory / "metrics.jsonl")
    kind = "test" if any(line["kind"] == "test" for line in lines) else "eval"
    evaluation = [line for line in lines if line["kind"] == kind][-1]
    spent = account_text(read_account(directory / "goodput.jsonl"))
    return (
        f"{run.taken:,} updates: test {scores_text(scores_of(evaluation))} on "
        f"{evaluation['num_examples']:,} examples\n"
        f"{spent} ({run.ahead.seconds:.1f} s compiled in the background)\n"
        f"in {directory}"
    )
