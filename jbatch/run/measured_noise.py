"""Read the gradient noise scale that a run has measured."""

from pathlib import Path

import numpy as np

from jbatch.errors import Mistake
from jbatch.plan.growth_cost import Gradients
from jbatch.run.metrics import read_metrics
from jbatch.task.base import SQUARED, TRACE


def measured_gradients(directory: Path) -> Gradients:
    """Return |G|² and trΣ at a run's log points.

    Raises:
        Mistake: if the run has measured none, or its averages are of too few updates.
    """
    found = read_metrics(directory / "metrics.jsonl")
    lines = [line for line in found if TRACE in line and SQUARED in line]
    if not lines:
        raise Mistake(
            f"{directory} has no measured noise scale: give the directory of a run that was "
            "trained with --measure-noise, or an assumed one with --noise-scale"
        )
    squared, trace = (np.array([line[name] for line in lines], float) for name in (SQUARED, TRACE))
    if squared.mean() <= 0 or trace.mean() <= 0:
        raise Mistake(
            f"the gradients of {directory} were lost in their noise (mean |G|² {squared.mean():g}, "
            f"trΣ {trace.mean():g}): measure over more updates, or give --noise-scale"
        )
    positions = np.array([line["examples"] for line in lines], np.int64)
    return Gradients(positions, squared, trace)
