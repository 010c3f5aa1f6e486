"""Where a run resumes: its newest checkpoint, or its beginning."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jbatch.run.checkpoint import Checkpoints
from jbatch.run.directory import read_run
from jbatch.run.distances import Distances
from jbatch.run.job import Job
from jbatch.step import programs
from jbatch.step.pure import State


class Start(NamedTuple):
    """Where a run begins or resumes."""

    state: State
    examples: int | None  # seen, by the checkpoint; None without one
    update: int  # of the plan, that is next
    before: int  # updates taken by another plan beyond those that this one has up to here
    moved: Distances | None  # where distances are measured


def open_checkpoints(directory: Path, say: Callable[[str], None]) -> Checkpoints:
    """Those of a run; `say` is told of unfinished and damaged ones."""
    return Checkpoints(directory / "checkpoints", say, read_run(directory)["id"])


def restore(
    checkpoints: Checkpoints, job: Job, directory: Path, say: Callable[[str], None]
) -> Start:
    """The newest whole state, or the initial one.

    A checkpoint is restored from shapes; the initial state is made only where there is none, or
    where distances from it are measured.
    """
    restored = checkpoints.restore(programs.state_on_devices(job.setup))
    moved = None
    if restored is None or job.measure_distance:
        state = programs.initializer(job.setup)(np.uint32(job.seed))
        moved = Distances(state.params) if job.measure_distance else None
    if restored is None:
        if (directory / "goodput.jsonl").exists():
            say("the run was begun before, and has no checkpoint: it begins anew")
        return Start(state, None, 0, 0, moved)
    examples, state = restored
    if moved is not None:
        moved.resume()
    update = job.plan.update_at(examples)
    begins = job.plan.position(update)
    if begins != examples:
        say(
            f"the run has seen {examples:,} examples, and an update of this plan begins after "
            f"{begins:,}: those between are left out"
        )
    return Start(state, examples, update, int(jax.device_get(state.taken)) - update, moved)
