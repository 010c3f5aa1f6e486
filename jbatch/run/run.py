"""A run under way."""

import dataclasses
from bisect import bisect_right
from collections.abc import Callable

from jbatch.data.inputs import Evaluated, Feed
from jbatch.distributed.preemption import StopRequest
from jbatch.plan.plan import Plan, Row
from jbatch.run.checkpoint import Checkpoints
from jbatch.run.clock import Clock
from jbatch.run.distances import Distances
from jbatch.run.job import Job
from jbatch.run.metrics import MetricsLog
from jbatch.run.profiler import Profile
from jbatch.run.progress import Bar, Lines, Quiet
from jbatch.step.aot import Ahead
from jbatch.step.driver import Driver
from jbatch.step.pure import State


@dataclasses.dataclass
class Run:
    """A run under way: what does not change, and where it is."""

    job: Job
    driver: Driver
    ahead: Ahead
    feed: Feed
    test: Evaluated
    metrics: MetricsLog | None  # None where another process writes it
    clock: Clock
    checkpoints: Checkpoints
    progress: Lines | Bar | Quiet
    stop: StopRequest
    check_held: Callable[[], None]  # Mistake if the directory is not this run's any more
    begun: float  # time.perf_counter, less the seconds of earlier starts

    state: State
    update: int  # of the plan, that is next
    before: int  # updates taken by another plan beyond those that this one has up to here
    evaluated: int | None  # at which update, last
    saved: int | None
    logged: int
    profile: Profile | None = None
    unsaved: str = ""  # why the last checkpoint could not be written
    damaged: int = 0  # of `feed.damaged`, at the last log point
    named: set[str] = dataclasses.field(default_factory=set)  # files that a person was told of
    moved: Distances | None = None  # where they are measured

    @property
    def plan(self) -> Plan:
        """Of every update."""
        return self.job.plan

    @property
    def examples(self) -> int:
        """Seen so far."""
        return self.plan.position(self.update)

    @property
    def taken(self) -> int:
        """Updates so far, by whatever plans."""
        return self.before + self.update

    def next_rows(self, last: int) -> list[Row]:
        """What the next call takes: no more than a program allows, and to the next moment."""
        first, calls = self.plan.at(self.update), self.job.moments.calls
        end = min(
            self.update + self.driver.most(first.batch_size),
            calls[bisect_right(calls, self.update)],
            last,
        )
        return [first, *map(self.plan.at, range(self.update + 1, end))]
