"""Open a run: resolve, claim, restore, wire."""

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import jax

from jbatch.devices import meshes
from jbatch.distributed import agree
from jbatch.distributed.preemption import saved_below, stop_requests
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.origin import Origin
from jbatch.plan.passes import Passes
from jbatch.run.adapt import save_plan
from jbatch.run.claim import claim
from jbatch.run.clock import Clock
from jbatch.run.decisions import DecisionLog
from jbatch.run.directory import other_environment
from jbatch.run.goodput import Ledger
from jbatch.run.job import Job, resolve
from jbatch.run.metrics import MetricsLog
from jbatch.run.microbatch import cut_into_passes
from jbatch.run.progress import Bar, Lines, Quiet
from jbatch.run.progress import progress as default_progress
from jbatch.run.restore import Start, open_best, open_checkpoints, restore
from jbatch.run.run import Callback, Run
from jbatch.run.tracked import tracked
from jbatch.step.aot import Ahead
from jbatch.step.driver import Driver
from jbatch.text import listed
from jbatch.trackers.tracker import Tracker


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
    on: Sequence[Callback] = (),
    warned: Collection[str] = (),
    log: Sequence[Tracker] = (),
) -> Iterator[Run]:
    """Open a run that is ready to train from its current position; see `loop.fit`."""
    begun, started = time.perf_counter(), time.time()
    devices = meshes.all_devices() if devices is None else devices
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests())  # active until all below is closed
        saved_below(directory)

        # 1. Resolve: the same in all processes.
        job = resolve(experiment, devices, origin)

        # 2. Claim, before anything is timed or compiled.
        claimed = stack.enter_context(
            claim(directory, job, stop, accept_plan_change=accept_plan_change)
        )
        passes, why = cut_into_passes(directory, job)

        # 3. Restore, while the phases that are left compile: finished ones need no program.
        new = (text for text in job.warnings if text not in warned)
        warnings = [*new, *other_environment(directory), *_unmeasured(job, passes)]
        checkpoints = agree.together(
            "the checkpoints", lambda: open_checkpoints(directory, job, warnings.append)
        )
        stack.callback(checkpoints.close)
        setup = job.setup
        newest = job.plan.update_at(checkpoints.newest or 0)
        to_come = {size: passes[size] for size in job.to_come(newest)}
        ahead = stack.enter_context(closing(Ahead(setup, to_come, job.evaluations)))
        start = restore(checkpoints, job, directory, warnings.append)
        job, update = start.job, start.update
        left = {size: passes[size] for size in job.to_come(update)}
        if left != to_come:  # the newest checkpoint was damaged, or has decided on other sizes
            ahead.close()
            ahead = stack.enter_context(closing(Ahead(setup, left, job.evaluations)))
        best = open_best(directory, job, start.examples, warnings.append)
        if best is not None:
            stack.callback(best.checkpoints.close)
        claimed.accept()

        # 4. Wire.
        plan = job.plan
        metrics, ledger = agree.together("logs", lambda: _logs(directory, start.examples, started))
        decisions = agree.together("plan.jsonl", lambda: _decisions(directory, start))
        if decisions is not None:
            stack.enter_context(closing(decisions))
        if metrics is not None:
            stack.enter_context(closing(metrics))
        stack.enter_context(closing(ledger))
        seconds, evaluated, tested = _before(metrics)
        if job.validation is not None and update == plan.num_updates and tested != evaluated:
            evaluated = None  # it ended under another plan, which ended later
        display = _told(progress)
        display.begin(label, plan, update)
        stack.callback(display.end)
        for text in [why] * bool(why) + [f"warning: {warning}" for warning in warnings]:
            display.say(text)

        def warn(text: str) -> None:
            display.say(f"warning: {text}")

        checkpoints.say = warn
        feed = agree.together(
            "the training set", lambda: job.data.feed(setup.mesh, job.seed, plan, passes, update)
        )
        stack.callback(feed.close)
        evaluated_on, size = job.evaluated.data, job.evaluated.setup.evaluation_size
        test = agree.together("the test set", lambda: evaluated_on.test(setup.mesh, size))
        stack.callback(test.close)
        claimed.begin()
        told = None
        if metrics is not None:
            told = stack.enter_context(tracked(directory, log, metrics.update, warn))
        stop.listening = True
        yield Run(
            directory=directory,
            job=job,
            driver=Driver(setup, ahead, feed),
            ahead=ahead,
            feed=feed,
            test=test,
            metrics=metrics,
            clock=Clock(ledger, begun, lambda: feed.waited),
            checkpoints=checkpoints,
            progress=display,
            stop=stop,
            check_held=claimed.check,
            begun=begun - seconds,
            state=start.state,
            update=update,
            before=start.before,
            evaluated=update if None is not start.examples == evaluated else None,
            saved=update if start.examples == plan.position(update) else None,
            logged=update,
            moved=start.moved,
            on=on,
            told=told,
            best=best,
            adapted=start.adapted,
            decisions=decisions,
        )


def _unmeasured(job: Job, passes: Mapping[int, Passes]) -> Iterator[str]:
    """Warn of batch sizes whose noise a run is to measure and cannot.

    Raises:
        Mistake: if it decides by that noise.
    """
    sizes = [f"{size:,}" for size, made in passes.items() if not made.measurable]
    if job.setup.learner.noise_of is None or not sizes:
        return
    why = (
        f"the gradient noise of batch {listed(sizes, 5)} is not measured: its groups of "
        f"{job.setup.task.group or 1:,} examples leave a device no two parts"
    )
    if job.adaptive is not None and job.adaptive.reads_noise:
        raise Mistake(
            f"adaptive.rule reads the measured noise, but {why}. Give smaller groups, fewer "
            "devices, larger batch sizes, or LossStall()"
        )
    yield why


def _decisions(directory: Path, start: Start) -> DecisionLog | None:
    """Open the decisions of an adaptive run, in process 0, with the plan that they make."""
    decided = start.job.plan.decided
    if start.adapted is None or decided is None or not agree.first():
        return None
    save_plan(directory, start.job)
    return DecisionLog(directory, -1 if start.examples is None else start.examples, decided.sizes)


def _told(progress: Lines | Bar | None) -> Lines | Bar | Quiet:
    """Return the progress display; processes other than the first print messages only."""
    if not agree.first():
        return Quiet(jax.process_index())
    return default_progress() if progress is None else progress


def _logs(
    directory: Path, examples: int | None, started: float
) -> tuple[MetricsLog | None, Ledger]:
    """Open metrics and time account for a run after so many examples; only process 0 writes."""
    if not agree.first():
        return None, Ledger(None, 0)
    return MetricsLog(directory, examples), Ledger(
        directory / "goodput.jsonl", examples or 0, started
    )


def _before(metrics: MetricsLog | None) -> tuple[float, int | None, int | None]:
    """Return process 0's (seconds before this start, examples at the last eval and test lines)."""
    known: tuple[float, int | None, int | None] = 0.0, None, None
    if metrics is not None:
        known = metrics.seconds_before, metrics.last("eval"), metrics.last("test")
    seconds, evaluated, tested = json.loads(agree.exchange("metrics", json.dumps(known))[0])
    return seconds, evaluated, tested
