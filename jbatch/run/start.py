"""Opening a run: all that is made, read and checked before its first update."""

import dataclasses
import json
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import jax
import numpy as np

from jbatch.data.inputs import Evaluated, Feed
from jbatch.devices import meshes
from jbatch.distributed import agree
from jbatch.distributed.preemption import StopRequest, saved_below, stop_requests
from jbatch.experiment.experiment import Experiment
from jbatch.models import ghost_batch
from jbatch.plan.passes import cut
from jbatch.plan.plan import Plan, Row
from jbatch.run import check, microbatch
from jbatch.run.build import SHOWN, assemble, what_all_must_share
from jbatch.run.checkpoint import Checkpoints
from jbatch.run.directory import (
    Origin,
    claimed,
    other_environment,
    read_run,
    wait_for_run,
    write_run,
)
from jbatch.run.distances import Distances
from jbatch.run.goodput import Ledger
from jbatch.run.metrics import MetricsLog
from jbatch.run.profiler import Profile
from jbatch.run.progress import Bar, Lines, Quiet
from jbatch.step import programs
from jbatch.step.aot import Ahead
from jbatch.step.driver import Driver
from jbatch.step.programs import Setup
from jbatch.step.pure import State


@dataclasses.dataclass
class Run:
    """A run under way: what does not change, and where it stands."""

    plan: Plan
    setup: Setup
    driver: Driver
    ahead: Ahead
    feed: Feed
    test: Evaluated
    metrics: MetricsLog | None  # None where another process writes it
    ledger: Ledger
    checkpoints: Checkpoints
    progress: Lines | Bar | Quiet
    stop: StopRequest
    check_held: Callable[[], None]  # Mistake if the directory is not this run's any more
    evaluations: frozenset[int]  # after how many updates
    saves: frozenset[int]
    logs: frozenset[int]
    cuts: tuple[int, ...]  # after how many updates a call must end, in order
    begun: float  # time.perf_counter

    state: State
    update: int  # of the plan, that is next
    before: int  # updates taken by another plan beyond those that this one has up to here
    evaluated: int | None  # at which update, last
    saved: int | None
    logged: int
    profile: Profile | None = None
    unsaved: str = ""  # why the last checkpoint could not be written
    waited: float = 0.0  # of `feed.waited`, at the last log point
    damaged: int = 0  # of `feed.damaged`, by then
    named: set[str] = dataclasses.field(default_factory=set)  # files that a person was told of
    moved: Distances | None = None  # where they are measured
    clock: float = 0.0  # seconds of training since the last log point …
    resumed: float = 0.0  # … up to this time.perf_counter, since when it goes on
    accounted: float = 0.0  # of `feed.waited`, that is in the ledger

    @property
    def examples(self) -> int:
        """Seen so far."""
        return self.plan.position(self.update)

    @property
    def taken(self) -> int:
        """Updates so far, by whatever plans."""
        return self.before + self.update

    def next_rows(self, last: int) -> list[Row]:
        """What the next call takes: no more than a program allows, and to the next cut."""
        first = self.plan.at(self.update)
        end = min(
            self.update + self.driver.most(first.batch_size),
            self.cuts[bisect_right(self.cuts, self.update)],
            last,
        )
        return [first, *map(self.plan.at, range(self.update + 1, end))]


@contextmanager
def open_run(
    experiment: Experiment,
    directory: Path,
    *,
    origin: Origin | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Lines | Bar | None = None,
    label: str = "train",
    accept_plan_change: bool = False,
) -> Iterator[Run]:
    """A run ready to go on from where it stands; see `train.fit`."""
    begun, started = time.perf_counter(), time.time()
    devices = meshes.all_devices() if devices is None else devices
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests())  # until all below is closed
        saved_below(directory)
        made = agree.together("data", lambda: assemble(experiment, devices))
        plan, setup, data = made
        several = jax.process_count() > 1
        if several:  # before what they could disagree on
            shared = agree.together("hashes", lambda: what_all_must_share(experiment, plan, data))
            agree.check_same(shared)
        sizes = [phase.batch_size for phase in plan.phases]
        choice = microbatch.micro_batch(directory, experiment, sizes, setup)
        group = ghost_batch(experiment.model)
        passes = cut(sizes, len(devices), group, choice.limit)
        if several:
            compiled = agree.together("programs", lambda: programs.digest(setup, passes))
            agree.check_same({"the compiled program": compiled[:SHOWN]})
        digests = agree.together(
            "what is trained",
            lambda: (
                {"data": data.digest(), "program": programs.identity(setup, group)}
                if agree.first()
                else {}
            ),
        )
        claim = claimed(
            directory,
            experiment,
            plan,
            origin,
            digests,
            accept_plan_change=accept_plan_change,
            # Several processes hear of a request together, in the loop.
            asked=stop.asked if jax.process_count() == 1 else lambda: None,
        )
        claimed_here = agree.together(
            "the run directory", lambda: stack.enter_context(claim) if agree.first() else None
        )
        agree.together("the run directory's files", lambda: wait_for_run(directory))
        agree.together(
            "what is kept",
            lambda: (
                agree.first() and microbatch.keep(directory, experiment, sizes, setup, choice.limit)
            ),
        )
        warnings = [*plan.warnings, *check.warnings(experiment, plan)]
        warnings += other_environment(directory)
        checkpoints = Checkpoints(
            directory / "checkpoints", warnings.append, read_run(directory)["id"]
        )
        stack.callback(checkpoints.close)
        restored = checkpoints.restore(programs.state_on_devices(setup))
        examples, update, before, moved = None, 0, 0, None
        if restored is None or experiment.measure_distance:
            state = programs.initializer(setup)(np.uint32(experiment.seed))
            moved = Distances(state.params) if experiment.measure_distance else None
        if restored is not None:
            examples, state = restored
            if moved is not None:
                moved.resume()
            update = plan.update_at(examples)
            before = int(jax.device_get(state.taken)) - update
            if plan.position(update) != examples:
                warnings.append(
                    f"the run has seen {examples:,} examples, and an update of this plan begins "
                    f"after {plan.position(update):,}: those between are left out"
                )
        elif (directory / "goodput.jsonl").exists():
            warnings.append("the run was begun before, and has no checkpoint: it begins anew")
        # Those of phases that are over would only hold up the one that is next.
        phase = plan.at(update).phase if update < plan.num_updates else len(plan.phases)
        to_come = {size: passes[size] for size in sizes[phase:]}
        ahead = stack.enter_context(closing(Ahead(setup, to_come)))
        agree.together(  # now that there is something to go on from
            "the new plan",
            lambda: (
                claimed_here is not None
                and claimed_here.changed
                and write_run(directory, experiment, plan, origin, digests)
            ),
        )
        opened = agree.together("logs", lambda: _logs(directory, examples, started))
        metrics, ledger = (log and stack.enter_context(closing(log)) for log in opened)
        standing = {}
        if metrics is not None:
            standing = {"seconds": metrics.seconds_before, "evaluated": metrics.evaluated}
        standing = json.loads(agree.exchange("metrics", json.dumps(standing))[0])
        evaluated = examples is not None and standing["evaluated"] == examples
        if progress is None or not agree.first():
            progress = Lines(math.inf) if agree.first() else Quiet(jax.process_index())
        progress.begin(label, plan, update)
        stack.callback(progress.end)
        if choice.why:
            progress.say(choice.why)
        for warning in warnings:
            progress.say(f"warning: {warning}")
        checkpoints.say = lambda text: progress.say(f"warning: {text}")
        feed = data.feed(setup.mesh, experiment.seed, plan, passes, update)
        stack.callback(feed.close)
        test = data.test(setup.mesh, setup.evaluation_size)
        stack.callback(test.close)
        evaluations = plan.crossings(experiment.eval_every) | {0}
        saves = plan.crossings(experiment.save_every) | {
            phase.first_update for phase in plan.phases[1:]
        }
        logs = plan.crossings(experiment.log_every)
        stop.listening = True
        yield Run(
            plan=plan,
            setup=setup,
            driver=Driver(setup, ahead, feed),
            ahead=ahead,
            feed=feed,
            test=test,
            metrics=metrics,
            ledger=ledger,
            checkpoints=checkpoints,
            progress=progress,
            stop=stop,
            check_held=(lambda: None) if claimed_here is None else claimed_here.check,
            evaluations=evaluations,
            saves=saves,
            logs=logs,
            # An epoch has its own order, a phase its own program: saves begin each of those.
            cuts=tuple(sorted(evaluations | saves | logs | plan.crossings(1))),
            begun=begun - standing["seconds"],
            state=state,
            update=update,
            evaluated=update if evaluated else None,
            before=before,
            saved=update or None,
            logged=update,
            moved=moved,
            resumed=begun,
        )


def _logs(
    directory: Path, examples: int | None, started: float
) -> tuple[MetricsLog | None, Ledger]:
    """What a run writes as it goes on after so many examples; only one process writes it down."""
    if not agree.first():
        return None, Ledger(None, 0)
    return MetricsLog(directory, examples), Ledger(
        directory / "goodput.jsonl", examples or 0, started
    )
