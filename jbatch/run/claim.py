"""Claim a run directory for all processes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import jax

from jbatch.distributed import agree
from jbatch.distributed.preemption import StopRequest
from jbatch.run.directory import held, read_run, wait_for_run, write_run
from jbatch.run.job import SHOWN, Job


class Claim(NamedTuple):
    """A run directory that this run has claimed."""

    check: Callable[[], None]  # raises Mistake if the claim is lost
    accept: Callable[[], None]  # saves a changed plan, once there is a state to resume
    begin: Callable[[], None]  # the run is open: the directory stays, whatever happens


@contextmanager
def claim(
    directory: Path, job: Job, stop: StopRequest, *, accept_plan_change: bool
) -> Iterator[Claim]:
    """Claim a directory in the first process; the others wait.

    Raises:
        Mistake: if it holds something else, or another process trains in it.
    """
    with ExitStack() as stack:
        holding = held(
            directory,
            job.identity,
            job.plan,
            accept_plan_change=accept_plan_change,
            # Several processes react to a stop request together, in the loop only.
            asked=stop.asked if jax.process_count() == 1 else lambda: None,
        )
        here = agree.together(
            "the run directory", lambda: stack.enter_context(holding) if agree.first() else None
        )
        agree.together("the run directory's files", lambda: wait_for_run(directory))
        run = agree.together("run.json", lambda: read_run(directory)["id"])
        agree.check_same({"the run in --run-dir": run[:SHOWN]})

        def save_if_changed() -> None:
            if here is not None and here.changed:
                write_run(directory, job.identity, job.plan)

        def accept() -> None:
            agree.together("the new plan", save_if_changed)

        def begin() -> None:
            if here is not None:
                here.begun = True

        yield Claim((lambda: None) if here is None else here.check, accept, begin)
