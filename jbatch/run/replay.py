"""Repeat what an adaptive run has decided, as a fixed plan."""

from pathlib import Path

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.run.directory import read_run
from jbatch.run.kept import read_plan
from jbatch.run.metrics import read_metrics
from jbatch.run.microbatch import kept_limit


def replayed(directory: Path, experiment: Experiment) -> tuple[str, ...]:
    """Return the overrides that let an experiment repeat what a run has decided, bit for bit.

    They set the batch sizes, and the micro-batch where the experiment leaves it to jbatch.

    Raises:
        Mistake: if the run has decided nothing, or has not finished.
    """
    decided = [str(part) for both in _sizes(directory).items() for part in both]
    limit = kept_limit(directory)
    pinned = () if limit is None or experiment.micro_batch else ("--micro-batch", str(limit))
    return "--plan.decided", *decided, *pinned


def _sizes(directory: Path) -> dict[int, int]:
    """Return what a finished adaptive run has decided: examples seen → batch size, from 0 on.

    Raises:
        Mistake: if it is no adaptive run, or has not finished.
    """
    plan = read_plan(directory, read_run(directory)["plan_digest"])
    if plan.decided is None:
        raise Mistake(
            f"{directory} has decided nothing, because its plan was fixed when it began: give the "
            "directory of a run with adaptive"
        )
    if not any(line["examples"] == plan.end for line in read_metrics(directory / "metrics.jsonl")):
        raise Mistake(
            f"{directory} has not finished, and may decide more: finish it, then replay it"
        )
    return dict(plan.decided.sizes)
