"""Hold the state of a run in progress."""

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from jbatch.data.inputs import Evaluated, Feed
from jbatch.distributed.preemption import StopRequest
from jbatch.plan.plan import Plan, Row
from jbatch.run.adapted import Adapted
from jbatch.run.best import Best
from jbatch.run.checkpoint import Checkpoints
from jbatch.run.clock import Clock
from jbatch.run.decisions import DecisionLog
from jbatch.run.distances import Distances
from jbatch.run.job import Job
from jbatch.run.metrics import MetricsLog
from jbatch.run.profiler import Profile
from jbatch.run.progress import Bar, Lines, Quiet
from jbatch.step.aot import Ahead
from jbatch.step.driver import Driver
from jbatch.step.pure import State

OF_CALLBACK = "raised by a callback of jbatch.fit"
Callback = Callable[[dict[str, Any]], object]  # is given a line of metrics


@dataclasses.dataclass(repr=False)
class Run:
    """A run in progress: first its fixed parts, then its position."""

    directory: Path
    job: Job
    driver: Driver
    ahead: Ahead
    feed: Feed
    test: Evaluated
    metrics: MetricsLog | None  # None if another process writes them
    clock: Clock
    checkpoints: Checkpoints
    progress: Lines | Bar | Quiet
    stop: StopRequest
    check_held: Callable[[], None]  # raises Mistake if the directory is no longer this run's
    begun: float  # time.perf_counter, less the seconds of earlier starts

    state: State
    update: int  # the next update of the plan
    before: int  # updates taken so far, less `update`; not 0 if another plan took some
    evaluated: int | None  # update of the last evaluation
    saved: int | None  # update of the last checkpoint
    logged: int  # update of the last log point
    profile: Profile | None = None
    unsaved: str = ""  # why the last checkpoint could not be written
    damaged: int = 0  # length of `feed.damaged` at the last log point
    named: set[str] = dataclasses.field(default_factory=set)  # damaged files that were reported
    moved: Distances | None = None  # None if distances are not measured
    on: Sequence[Callback] = ()
    told: Callable[[Mapping[str, Any]], None] | None = None  # tells trackers of a line
    best: Best | None = None  # None if it keeps no best checkpoint
    adapted: Adapted | None = None  # None if the plan is all there is to decide
    decisions: DecisionLog | None = None  # None if there are none, or another process writes them

    def __repr__(self) -> str:
        return f"<Run after {self.taken:,} updates of {self.plan.num_updates:,}>"

    @property
    def plan(self) -> Plan:
        """The plan of all updates."""
        return self.job.plan

    @property
    def examples(self) -> int:
        """Examples seen so far."""
        return self.plan.position(self.update)

    @property
    def taken(self) -> int:
        """Updates taken so far, under all plans."""
        return self.before + self.update

    @contextmanager
    def paused(self, what: str) -> Iterator[None]:
        """Wait for the pending updates, then account for the time of the block under `what`."""
        jax.block_until_ready(self.state)
        with self.clock.paused(what):
            yield

    def call(self, line: Mapping[str, Any]) -> None:
        """Give each callback its own copy of a line; only in the process that writes metrics."""
        if self.metrics is not None:
            for callback in self.on:
                try:
                    callback(dict(line))
                except OSError as error:  # it is not of the run's files
                    error.add_note(OF_CALLBACK)
                    raise

    @property
    def beside(self) -> str:
        """What is saved beside the state in a checkpoint."""
        return "" if self.adapted is None else self.adapted.text()

    def next_rows(self, last: int) -> list[Row]:
        """Return the next call's updates, as many as its program, the moments and `last` allow."""
        first, calls = self.plan.at(self.update), self.job.moments.calls
        end = min(
            self.update + self.driver.most(first.batch_size),
            calls[bisect_right(calls, self.update)],
            last,
        )
        return [first, *map(self.plan.at, range(self.update + 1, end))]
