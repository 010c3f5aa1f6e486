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


class Evaluation(NamedTuple):
    """Means over a dataset."""

    loss: float
    accuracy: float
    num_examples: int


def evaluate(
    compiled: Executable,
    state: State,
    test: Evaluated,
    asked_to_stop: Callable[[], object] = lambda: None,
) -> Evaluation | None:
    """Return loss (without label smoothing) and accuracy on a test set, with running statistics.

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
        (scored,) = compiled(state.params, state.stats, *inputs)
        in_flight.add(scored.loss)
        parts.append(scored)
    loss, correct, examples = np.array(jax.device_get(parts)).sum(axis=0, dtype=np.float64)
    if not examples:
        raise Mistake("could not decode any example of the test set: restore the dataset")
    return Evaluation(float(loss / examples), float(correct / examples), int(examples))
