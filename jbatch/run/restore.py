"""Restore a run from its newest checkpoint, or create its initial state."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jbatch.distributed import agree
from jbatch.errors import Mistake
from jbatch.run.adapted import Adapted, adapted_of
from jbatch.run.best import Best
from jbatch.run.checkpoint import Checkpoints
from jbatch.run.directory import best_checkpoints, read_run
from jbatch.run.distances import Distances
from jbatch.run.initial import check_paths, source_of, with_weights
from jbatch.run.job import Job
from jbatch.run.metrics import read_metrics
from jbatch.step import programs
from jbatch.step.pure import State


class Start(NamedTuple):
    """Where a run begins or resumes."""

    job: Job  # with what the run has decided
    state: State
    examples: int | None  # seen at the checkpoint; None without a checkpoint
    update: int  # the next update of the plan
    before: int  # updates taken so far, less `update`; not 0 if another plan took some
    moved: Distances | None  # None if distances are not measured
    adapted: Adapted | None  # None if the plan is all there is to decide


def open_checkpoints(directory: Path, job: Job, say: Callable[[str], None]) -> Checkpoints:
    """Open the checkpoints of a run; `say` receives warnings about unfinished or damaged ones."""
    folder, run = directory / "checkpoints", read_run(directory)["id"]
    return Checkpoints(folder, say, run, kept=job.kept_examples)


def open_best(
    directory: Path, job: Job, examples: int | None, say: Callable[[str], None]
) -> Best | None:
    """Open the checkpoint of the best evaluation; None if the run keeps none.

    One from after the state that the run resumes from is removed: the run comes there again.
    """
    if job.keep_best is None:
        return None
    folder = best_checkpoints(directory)
    if agree.first():
        for path in folder.glob("*"):
            if path.name.isdecimal() and (examples is None or int(path.name) > examples):
                shutil.rmtree(path, ignore_errors=True)
    agree.exchange("best checkpoints to come", "")
    checkpoints = Checkpoints(folder, say, read_run(directory)["id"], most=1)
    lines = read_metrics(directory / "metrics.jsonl") if agree.first() else []
    shared = json.loads(agree.exchange("the best evaluation", json.dumps(lines))[0])
    return Best(checkpoints, job.keep_best, shared)


def restore(
    checkpoints: Checkpoints, job: Job, directory: Path, say: Callable[[str], None]
) -> Start:
    """Return the newest undamaged state, or the initial state if there is no checkpoint.

    Restoring needs shapes only. The initial state is made only without a checkpoint, or to measure
    distances from it.
    """
    restored = checkpoints.restore(programs.state_on_devices(job.setup))
    moved = None
    if restored is None or job.measure_distance:
        state = programs.initializer(job.setup)(np.uint32(job.seed))
        if job.init is not None:
            check_paths(job.init, state.params)
            state = with_weights(job.setup.learner, state, source_of(job.init), job.init)
        moved = Distances(state.params) if job.measure_distance else None
    if restored is None:
        if (directory / "goodput.jsonl").exists():
            say("no checkpoint found: the run starts over")
        adapted = Adapted() if job.adaptive is not None else None
        return Start(job, state, None, 0, 0, moved, adapted)
    examples, state = restored
    adapted = None
    if job.adaptive is not None:
        adapted = adapted_of(checkpoints.beside(examples))
        try:
            job = job.decided(adapted.growths)
        except Mistake as mistake:
            sizes = ", ".join(f"{size:,}" for _, size in adapted.growths)
            raise Mistake(
                f"the run has grown to {sizes}, which its plan does not allow now: give back the "
                "plan's sizes, or start another run"
            ) from mistake
        checkpoints.keep(job.kept_examples)
    if moved is not None:
        moved.resume()
    update = job.plan.update_at(examples)
    begins = job.plan.position(update)
    if begins != examples:
        say(
            f"the new plan has no update that starts at {examples:,} examples: the run resumes at "
            f"{begins:,} and skips {begins - examples:,}"
        )
    before = int(jax.device_get(state.taken)) - update
    return Start(job, state, examples, update, before, moved, adapted)
