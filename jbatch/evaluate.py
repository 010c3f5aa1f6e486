"""Evaluation: every example once, on any number of devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jbatch.data.inputs import Evaluated
from jbatch.drive import InFlight
from jbatch.errors import Mistake
from jbatch.step import State


class Evaluation(NamedTuple):
    """Means over a data set."""

    loss: float
    accuracy: float
    num_examples: int


def evaluate(compiled: Callable, state: State, test: Evaluated) -> Evaluation:
    """Loss (without label smoothing) and accuracy on a test set, by the running statistics.

    The last pass is filled up; what is filled in has no weight, so each example counts once.

    Args:
        compiled: of `compile.evaluate`.
        state: of which parameters and running statistics are evaluated.
        test: the test set.
    """
    in_flight, parts = InFlight(test.most_in_flight), []
    for inputs in test.passes():
        (totals,) = compiled(state.params, state.stats, *inputs)
        in_flight.add(totals.loss)
        parts.append(totals)
    loss, correct, examples = np.sum(jax.device_get(parts), axis=0, dtype=np.float64)
    if not examples:
        raise Mistake("no example of the test set could be decoded: restore the data set")
    return Evaluation(float(loss / examples), float(correct / examples), int(examples))
