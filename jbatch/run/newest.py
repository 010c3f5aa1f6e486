"""Read a run's checkpoints, and evaluate the newest."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from jbatch.data.inputs import Loaded
from jbatch.data.open import load as open_data
from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.experiment.described import describe
from jbatch.experiment.experiment import Experiment
from jbatch.messages import tell
from jbatch.plan.plan import Plan
from jbatch.run.build import counted, make_setup
from jbatch.run.checkpoint import Checkpoints, Restored, parameters_digest
from jbatch.run.directory import check_data, differences, read_run
from jbatch.run.evaluate import Evaluation, evaluate
from jbatch.run.trained import evaluated, load
from jbatch.step import programs
from jbatch.step.programs import Evaluate, Setup
from jbatch.step.pure import State


class Opened(NamedTuple):
    """A run that is there, with the setup and data to go on from its checkpoints."""

    experiment: Experiment  # counted
    plan: Plan
    setup: Setup
    data: Loaded


class Newest(NamedTuple):
    """A run's newest checkpoint, with the setup and data to evaluate it."""

    plan: Plan
    setup: Setup
    data: Loaded
    examples: int  # seen
    state: State


def opened(experiment: Experiment, directory: Path) -> Opened:
    """Open a run's data; raise Mistake if it has no checkpoint or the experiment differs."""
    if not (directory / "checkpoints").is_dir():
        raise Mistake(f"{directory} has no checkpoint yet: train it first")
    experiment = counted(experiment)
    differs = differences(directory, describe(experiment))
    other = [name for name in differs if not name.startswith("data")]
    if other:
        raise Mistake(
            f"{directory} holds another run ({'; '.join(other)}): override only fields of the data"
        )
    plan = experiment.make_plan()
    setup, data = make_setup(experiment, plan, meshes.all_devices())
    if not differs:  # otherwise the user chose other data
        check_data(directory, data.digest())
    return Opened(experiment, plan, setup, data)


def newest_of(experiment: Experiment, directory: Path) -> Newest:
    """Read a run's newest checkpoint; raise Mistake if it has none or the experiment differs."""
    _, plan, setup, data = opened(experiment, directory)
    return Newest(plan, setup, data, *read_checkpoint(directory, setup))


def read_checkpoint(
    directory: Path, setup: Setup, at: int | None = None, folder: Path | None = None
) -> Restored:
    """Read a run's checkpoint at so many examples, by default its newest; change nothing.

    Args:
        directory: of the run.
        setup: of the run.
        at: examples seen at it.
        folder: where its checkpoints lie; None: where the run keeps them.

    Raises:
        Mistake: if there is none, or it is damaged.
    """
    folder, run = folder or directory / "checkpoints", read_run(directory)["id"]
    with closing(Checkpoints(folder, _warn, run, read_only=True)) as checkpoints:
        restored = checkpoints.restore(programs.state_on_devices(setup), at)
    if restored is None:
        raise Mistake(f"{directory} has no checkpoint yet: train it first")
    return restored


def _warn(text: str) -> None:
    tell(f"jbatch: warning: {text}")


def evaluate_saved(directory: Path, trusted: bool) -> tuple[int, Evaluation, str]:
    """Evaluate the newest checkpoint of a run that has no experiment file, as its task was saved.

    Raises:
        Mistake: if the run's data was given as arrays, which it does not keep.
    """
    model = load(directory, trusted=trusted)
    if model.data is None:
        raise Mistake(
            f"{directory} was trained on data that it does not keep: evaluate it in Python, with "
            f"jbatch.load({str(directory)!r}).evaluate(examples)"
        )
    data = open_data(model.data)
    check_data(directory, data.digest())
    return *evaluated(model, data), parameters_digest(model.train_state.params)


def evaluate_newest(experiment: Experiment, directory: Path) -> tuple[int, Evaluation, str]:
    """Evaluate a run's newest checkpoint: (updates taken, evaluation, digest of parameters)."""
    _, setup, data, _, state = newest_of(experiment, directory)
    with closing(data.test(setup.mesh, setup.evaluation_size)) as test:
        found = evaluate(setup, programs.compiled(setup, Evaluate()), state, test)
    assert found is not None  # nothing asks it to stop
    return int(state.taken), found, parameters_digest(state.params)
