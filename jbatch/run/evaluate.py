"""Evaluate every example exactly once, on any number of devices."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from jbatch.data.inputs import Evaluated
from jbatch.devices.spmd import Executable
from jbatch.errors import Mistake
from jbatch.step import programs
from jbatch.step.driver import InFlight
from jbatch.step.programs import Setup
from jbatch.step.pure import State
from jbatch.task.base import RESERVED, ScoreSums, Task, Tree
from jbatch.testing import point


class Evaluation(NamedTuple):
    """Means over a dataset."""

    scores: dict[str, float]  # "loss", and the task's metrics
    num_examples: int

    @property
    def line(self) -> dict[str, float]:
        """The values as fields of a line of metrics."""
        return {**finite(self.scores), "num_examples": self.num_examples}


def evaluate(
    setup: Setup,
    compiled: Executable,
    state: State,
    test: Evaluated,
    asked_to_stop: Callable[[], object] = lambda: None,
) -> Evaluation | None:
    """Return the scores on a test set, of the parameters and of their average if there is one.

    Args:
        setup: what is evaluated.
        compiled: the compiled evaluation.
        state: of the run.
        test: the test set.
        asked_to_stop: called before each pass.

    Returns:
        None if the run was asked to stop.
    """
    found = Evaluation({}, 0)
    for prefix, at in programs.evaluated(setup)(state).items():
        one = _evaluated(setup.task, compiled, at, test, asked_to_stop)
        if one is None:
            return None
        named = {f"{prefix}{name}": value for name, value in one.scores.items()}
        found = Evaluation({**found.scores, **named}, one.num_examples)
    return found


def _evaluated(
    task: Task,
    compiled: Executable,
    at: tuple[Tree, Tree],
    test: Evaluated,
    asked_to_stop: Callable[[], object],
) -> Evaluation | None:
    """Return the scores on a test set.

    The last pass is padded. Padding has weight 0, so each example counts once.
    """
    in_flight, parts = InFlight(test.most_in_flight), []
    for inputs in test.passes():
        if asked_to_stop():
            return None
        scored = compiled(*at, *inputs)
        in_flight.add(scored[1])
        parts.append(scored)
        point("pass evaluated")
    summed = jax.tree.map(
        lambda *each: np.sum(np.stack(each), axis=0, dtype=np.float64), *jax.device_get(parts)
    )
    scores, examples = summed
    if not examples:
        raise Mistake("could not decode any example of the test set: restore the dataset")
    return Evaluation(finished(task, scores), int(examples))


def finished(task: Task, sums: ScoreSums) -> dict[str, float]:
    """Return the values of the scores; some metrics may have no finite value.

    Raises:
        Mistake: if no example counts, so that there is no loss, or a metric has a taken name.
    """
    scores = {name: float(value) for name, value in task.finish(sums).items()}
    if "loss" not in scores:
        raise Mistake("the weights of all examples are 0: give those that count a weight over 0")
    if taken := RESERVED & (scores.keys() - {"loss"}):
        raise Mistake(
            f"the task's finish returns {', '.join(sorted(taken))}, which has another meaning in "
            "the lines of metrics: rename it"
        )
    return scores


def finite(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that a line of metrics can hold."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}
