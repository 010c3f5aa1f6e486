"""Evaluation: every example once, on any number of devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jbatch.data.inputs import Evaluated
from jbatch.errors import Mistake
from jbatch.step.driver import InFlight
from jbatch.step.pure import State


class Evaluation(NamedTuple):
    """Means over a data set."""

    loss: float
    accuracy: float
    num_examples: int


def evaluate(
    compiled: Callable,
    state: State,
    test: Evaluated,
    asked_to_stop: Callable[[], object] = lambda: None,
) -> Evaluation | None:
    """Loss (without label smoothing) and accuracy on a test set, by the running statistics.

    The last pass is filled up; what is filled in has no weight, so each example counts once.

    Args:
        compiled: the function of an evaluation.
        state: of which parameters and running statistics are evaluated.
        test: the test set.
        asked_to_stop: asked before each pass.

    Returns:
        None if it was asked to stop meanwhile.
    """
    in_flight, parts = InFlight(test.most_in_flight), []
    for inputs in test.passes():
        if asked_to_stop():
            return None
        (scored,) = compiled(state.params, state.stats, *inputs)
        in_flight.add(scored.loss)
        parts.append(scored)
    loss, correct, examples = np.sum(jax.device_get(parts), axis=0, dtype=np.float64)
    if not examples:
        raise Mistake("no example of the test set could be decoded: restore the data set")
    return Evaluation(float(loss / examples), float(correct / examples), int(examples))
