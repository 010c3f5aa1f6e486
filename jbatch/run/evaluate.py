"""Evaluation: every example once, on any number of devices."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from jbatch.data.inputs import Evaluated
from jbatch.devices import spmd
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.messages import tell
from jbatch.plan.plan import Plan
from jbatch.run.build import make_setup
from jbatch.run.checkpoint import Checkpoints, parameters_digest
from jbatch.run.directory import check_data, differences, read_run
from jbatch.step import programs
from jbatch.step.driver import InFlight
from jbatch.step.programs import Setup
from jbatch.step.pure import State

if TYPE_CHECKING:
    from jbatch.data.resident import ResidentData
    from jbatch.data.stream.feed import StreamedData


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
        compiled: of `compile.evaluate`.
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


class Newest(NamedTuple):
    """A run's newest checkpoint, and what it takes to evaluate it."""

    plan: Plan
    setup: Setup
    data: "ResidentData | StreamedData"
    examples: int  # seen
    state: State


def newest_of(experiment: Experiment, directory: Path) -> Newest:
    """Read a run's newest checkpoint; Mistake if it has none, or is of another experiment."""
    if not (directory / "checkpoints").is_dir():
        raise Mistake(f"{directory} has no checkpoint yet: train it first")
    other = [name for name in differences(directory, experiment) if not name.startswith("data")]
    if other:
        raise Mistake(f"{directory} holds another run than is to be evaluated: {'; '.join(other)}")
    plan = experiment.plan.plan()
    setup, data = make_setup(experiment, plan, spmd.all_devices())
    if not differences(directory, experiment):  # or a person has named other data
        check_data(directory, data.digest())
    folder, run = directory / "checkpoints", read_run(directory)["id"]
    with closing(Checkpoints(folder, _warn, run, read_only=True)) as checkpoints:
        restored = checkpoints.restore(programs.state_on_devices(setup))
    if restored is None:
        raise Mistake(f"{directory} has no checkpoint yet: train it first")
    return Newest(plan, setup, data, *restored)


def _warn(text: str) -> None:
    tell(f"jbatch: warning: {text}")


def evaluate_newest(experiment: Experiment, directory: Path) -> tuple[int, Evaluation, str]:
    """(updates taken, evaluation, digest of the parameters) of a run's newest checkpoint."""
    _, setup, data, _, state = newest_of(experiment, directory)
    with closing(data.test(setup.mesh, setup.evaluation_size)) as test:
        found = evaluate(programs.evaluate(setup), state, test)
    return int(state.taken), found, parameters_digest(state.params)
