"""How fast an experiment trains on these devices, phase by phase of its plan."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import jax

from jbatch.devices import meshes
from jbatch.distributed.preemption import Interrupted
from jbatch.experiment.experiment import Experiment
from jbatch.run.build import counted, make_setup
from jbatch.run.loop import run_until
from jbatch.run.progress import Lines
from jbatch.run.run import Run
from jbatch.run.start import open_run

MOST_UPDATES = 100_000  # that a measurement may take
NEVER = 1e15  # examples between log points, evaluations and checkpoints
RATE = 1e-9  # a learning rate at which nothing diverges; speed does not depend on it


class _Silent(Lines):
    """Shows nothing: the warnings of a measurement's own plan are about no plan of the user's."""

    def _print(self, text: str) -> None:
        pass


class Speed(NamedTuple):
    """How fast an experiment trains at one batch size: the median of several windows."""

    batch_size: int  # of an update, over all devices
    passes: int  # of an update; it has more than one if it does not fit, or is faster in parts
    updates: int  # of the plan at this batch size
    seconds: float  # of one update
    fastest: float  # the same of the fastest window
    slowest: float
    compile_seconds: float  # until the first update could begin; short if it is in the cache
    input_wait: float  # share of the time that waited for input


def speeds(experiment: Experiment, seconds: float, windows: int) -> Iterator[Speed]:
    """Measure each batch size of an experiment's plan, in the plan's order.

    The trainer's own loop runs on the experiment's data, without logs, evaluations or checkpoints.

    Args:
        experiment: what is measured.
        seconds: length of a window, about.
        windows: number of windows after the one that warms up.

    Raises:
        Mistake: if the experiment cannot be trained.
    """
    experiment = counted(experiment)
    setup, _ = make_setup(experiment, experiment.make_plan(), meshes.all_devices())
    devices = list(setup.mesh.devices.flat)  # that the run would use
    taken: dict[int, int] = {}
    plan = experiment.make_plan()
    if plan.decided is not None:  # sizes that a run may come to decide on
        taken = dict.fromkeys(plan.sizes, 0)
    for phase in plan.phases:
        taken[phase.batch_size] = taken.get(phase.batch_size, 0) + phase.updates
    for batch_size, updates in taken.items():
        with (
            tempfile.TemporaryDirectory(prefix="jbatch-bench-") as folder,
            open_run(
                _constant(experiment, batch_size),
                Path(folder) / "run",
                devices=devices,
                progress=_Silent(),
            ) as run,
        ):
            yield _speed(run, updates, seconds, windows)


def _constant(experiment: Experiment, batch_size: int) -> Experiment:
    """Return the experiment with one batch size, long enough to be measured."""
    plan = replace(
        experiment.plan.decaying,
        schedule=lambda _: RATE,
        batch_size=batch_size,
        rate=1.0,
        unit="examples",
        sequence_length=None,
        num_epochs=None,
        length=MOST_UPDATES * batch_size,
    )
    return replace(
        experiment,
        plan=plan,
        log_every=NEVER,
        eval_every=NEVER,
        save_every=NEVER,
        keep_every=None,
        keep_best=None,
        measure_distance=False,
        adaptive=None,
    )


def _speed(run: Run, updates: int, seconds: float, windows: int) -> Speed:
    batch_size = run.plan.at(0).batch_size
    run.evaluated = run.saved = 0  # begin to train at once
    _timed(run, 1)
    waiting = run.clock.ledger.seconds.get("compilation", 0.0)
    count = _calibrated(run, seconds)
    waited, begun = run.feed.waited, time.perf_counter()
    spent = [_timed(run, count) / count for _ in range(windows)]
    whole = time.perf_counter() - begun
    return Speed(
        batch_size=batch_size,
        passes=len(run.ahead.program(batch_size).passes.calls),
        updates=updates,
        seconds=median(spent),
        fastest=min(spent),
        slowest=max(spent),
        compile_seconds=waiting,
        input_wait=(run.feed.waited - waited) / whole,
    )


def _calibrated(run: Run, seconds: float) -> int:
    """Return how many updates take about so many seconds, within the plan's length."""
    count, spent = 1, 0.0
    while spent < seconds / 4 and count < MOST_UPDATES // 64:
        count *= 2
        spent = _timed(run, count)
    return min(max(1, round(count * seconds / spent)), MOST_UPDATES // 64)


def _timed(run: Run, count: int) -> float:
    """Take updates, wait for them and return the seconds."""
    begun = time.perf_counter()
    run_until(run, min(run.update + count, run.plan.num_updates))
    jax.block_until_ready(run.state)
    if name := run.stop.asked():
        raise Interrupted(f"{name} during a measurement: nothing to save")
    return time.perf_counter() - begun
