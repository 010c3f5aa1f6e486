"""A finished run in a few lines."""

from pathlib import Path

from jbatch.metrics import read_metrics
from jbatch.train import Run


def account(run: Run, directory: Path) -> str:
    """What came out, and where the time went."""
    lines = read_metrics(directory / "metrics.jsonl")
    evaluation = [line for line in lines if line["kind"] == "eval"][-1]
    spent = {"waiting for compilation": run.spent.get("compilation", 0.0)}
    spent |= {what: seconds for what, seconds in run.spent.items() if what != "compilation"}
    account = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in spent.items())
    waited = f"; training waited {run.feed.waited:.1f} s for input" if run.feed.waited else ""
    return (
        f"{run.update:,} updates: test loss {evaluation['loss']:.4f}, accuracy "
        f"{evaluation['accuracy']:.2%} on {evaluation['num_examples']:,} examples\n"
        f"{lines[-1]['seconds']:.1f} s in all. This time beside training: {account} "
        f"({run.ahead.seconds:.1f} s compiled in the background){waited}\n"
        f"in {directory}"
    )
