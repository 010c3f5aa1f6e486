"""Evaluate every example exactly once, on any number of devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jbatch.data.inputs import Evaluated
from jbatch.devices.spmd import Executable
from jbatch.errors import Mistake
from jbatch.step.driver import InFlight
from jbatch.step.pure import State
from jbatch.testing import point


class Evaluation(NamedTuple):
    """Means over a dataset."""

    scores: dict[str, float]  # "loss", and the task's metrics
    num_examples: int

    @property
    def line(self) -> dict[str, float]:
        """The values as fields of a line of metrics."""
        return {**self.scores, "num_examples": self.num_examples}


def evaluate(
    compiled: Executable,
    state: State,
    test: Evaluated,
    asked_to_stop: Callable[[], object] = lambda: None,
) -> Evaluation | None:
    """Return the mean scores on a test set, with running statistics.

    The last pass is padded. Padding has weight 0, so each example counts once.

    Args:
        compiled: the compiled evaluation.
        state: provides the parameters and running statistics.
        test: the test set.
        asked_to_stop: called before each pass.

    Returns:
        None if the run was asked to stop.
    """
    in_flight, parts = InFlight(test.most_in_flight), []
    for inputs in test.passes():
        if asked_to_stop():
            return None
        scored = compiled(state.params, state.stats, *inputs)
        in_flight.add(scored[1])
        parts.append(scored)
        point("pass evaluated")
    summed = jax.tree.map(lambda *each: np.sum(each, dtype=np.float64), *jax.device_get(parts))
    scores, examples = summed
    if not examples:
        raise Mistake("could not decode any example of the test set: restore the dataset")
    means = {name: float(total / weight) for name, (total, weight) in scores.items()}
    return Evaluation(means, int(examples))
