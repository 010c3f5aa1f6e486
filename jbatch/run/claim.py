"""Making a directory the run's, in all processes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import jax

from jbatch.distributed import agree
from jbatch.distributed.preemption import StopRequest
from jbatch.run.directory import claimed, wait_for_run, write_run
from jbatch.run.job import Job


class Claim(NamedTuple):
    """A run directory that is this run's."""

    check: Callable[[], None]  # Mistake if it is not any more
    accept: Callable[[], None]  # write a changed plan down, once there is a state to resume from


@contextmanager
def claimed_by_all(
    directory: Path, job: Job, stop: StopRequest, *, accept_plan_change: bool
) -> Iterator[Claim]:
    """Claim a directory in the first process, while the others wait.

    Raises:
        Mistake: if it holds something else, or another process trains in it.
    """
    with ExitStack() as stack:
        claim = claimed(
            directory,
            job.identity,
            job.plan,
            accept_plan_change=accept_plan_change,
            # Several processes hear of a request together, in the loop.
            asked=stop.asked if jax.process_count() == 1 else lambda: None,
        )
        here = agree.together(
            "the run directory", lambda: stack.enter_context(claim) if agree.first() else None
        )
        agree.together("the run directory's files", lambda: wait_for_run(directory))

        def accept() -> None:
            agree.together(
                "the new plan",
                lambda: here is not None and here.changed and write_run(directory, job.identity),
            )

        yield Claim((lambda: None) if here is None else here.check, accept)
