"""Train a run, from its plan to its last checkpoint."""

import errno
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import jax

from jbatch.distributed import agree
from jbatch.distributed.preemption import Interrupted, PhaseEnd
from jbatch.errors import Mistake, shown
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.origin import Origin
from jbatch.files import expanded
from jbatch.run.adapt import decide
from jbatch.run.best import Best
from jbatch.run.build import counted
from jbatch.run.evaluate import evaluate
from jbatch.run.log import (
    all_finite,
    log_training,
    name_damaged,
    refuse_diverged,
    standing,
    write_line,
)
from jbatch.run.profiler import Profile
from jbatch.run.progress import Bar, Lines
from jbatch.run.run import OF_CALLBACK, Callback, Run
from jbatch.run.saving import attempt, kept
from jbatch.run.start import open_run
from jbatch.testing import point
from jbatch.trackers.named import trackers
from jbatch.trackers.tracker import Tracker
from jbatch.upstream_words import PEER_LOST

SECONDS_BETWEEN_LOOKS = 0.1  # between checks for a stop request while the run waits
AGAIN = "Run the same command to resume"


def fit(
    experiment: Experiment,
    directory: Path | str,
    *,
    origin: Origin | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Lines | Bar | None = None,
    label: str = "train",
    until_phase: int | None = None,
    accept_plan_change: bool = False,
    on: Sequence[Callback] = (),
    log: Sequence[Tracker | str] = (),
    profile: bool = False,
    warned: Collection[str] = (),
) -> Run:
    """Train to the end of the plan, and resume from the newest checkpoint if there is one.

    Args:
        experiment: what to train.
        directory: the run directory; created if it does not exist.
        origin: where the experiment was read from, saved for `eval` and `report`.
        devices: devices to train on; None for all that JAX finds.
        progress: shows the run's progress on stderr; None: a bar on a terminal, else lines.
        label: the run's name in these messages.
        until_phase: stop at the end of this phase of the plan; the first is 1.
        accept_plan_change: if the directory has another plan, resume with this one from the
            examples seen.
        on: called, in the first process, with a copy of each line of metrics (`kind` is train,
            eval, test or diverged), and with the run's position when a phase begins (`kind` is
            phase). An exception of theirs ends the run; what was saved stays.
        log: trackers that follow the run, in the first process: values such as
            `jbatch.WandB(project="x")`, or texts such as "wandb:project=x". A tracker that fails
            or is too slow is left out, with a warning.
        profile: trace some calls of each phase in the first process, into `directory`/profile.
        warned: warnings that were given before, and are left out.

    Returns:
        The finished run.

    Raises:
        Mistake: if the experiment cannot be trained (nothing is written), or the disk is full.
        Diverged: if the loss is not finite; the last checkpoint is from before that.
        Interrupted: on SIGTERM or Ctrl-C, after saving; or if another process is lost.
        PhaseEnd: at the end of `until_phase`, after saving.

    Examples:
        >>> plan = jbatch.Coupling(lambda epoch: 0.1, num_epochs=2, batch_size=32)
        >>> experiment = jbatch.Experiment(plan, jbatch.Classify(jbatch.MLP()), jbatch.Digits())
        >>> run = jbatch.fit(experiment, "runs/digits")
        >>> jbatch.load("runs/digits").metrics["accuracy"] > 0.8
        True
    """
    if not isinstance(experiment, Experiment):
        raise Mistake(
            f"fit was given {shown(experiment)}: give one Experiment, such as a variant of "
            "jbatch.load_file(path)"
        )
    if callable(on):
        raise Mistake(f"on is {shown(on)}: give a list of functions, on=[…]")
    followers = trackers(log)
    directory = expanded(Path(directory))
    experiment = agree.together("the data", lambda: counted(experiment))
    last = agree.together("the plan", lambda: _last_update(experiment, until_phase))
    agree.check_same({"--until-phase": str(until_phase)})
    with (
        _outer_failures_said(directory),
        open_run(
            experiment,
            directory,
            origin=origin,
            devices=devices,
            progress=progress,
            label=label,
            accept_plan_change=accept_plan_change,
            on=on,
            warned=warned,
            log=followers,
        ) as run,
        _profiled(run, directory) if profile and agree.first() else nullcontext(),
    ):
        run_until(run, last)
        attempt(run, run.checkpoints.wait)
        if run.best is not None:
            attempt(run, run.best.checkpoints.wait)
        agree.together("the run directory", run.check_held)
        if run.unsaved:
            raise Mistake(
                f"could not save the checkpoint at update {run.update:,} ({run.unsaved}). "
                f"{kept(run)}. Free disk space, then run the same command to resume"
            )
        if last is not None:
            where = "ends" if run.update == last else f"ended at {last:,}, and the run is"
            raise PhaseEnd(
                f"phase {until_phase} {where} at update {run.update:,} of "
                f"{run.plan.num_updates:,}: saved. Run the same command without --until-phase to "
                "resume, on any number of devices"
            )
    return run


@contextmanager
def _profiled(run: Run, directory: Path) -> Iterator[None]:
    with closing(Profile(directory / "profile", run.progress.say)) as run.profile:
        yield


def _last_update(experiment: Experiment, until_phase: int | None) -> int | None:
    """Return the number of updates after which the run stops; None if it goes to the plan's end."""
    plan = experiment.make_plan()
    if until_phase is None:
        return None
    if experiment.adapts:
        raise Mistake(
            f"--until-phase is {until_phase}, but this run decides on its phases while it trains: "
            "leave it out"
        )
    if len(plan.phases) == 1:
        raise Mistake(f"--until-phase is {until_phase}, but this plan has one phase: leave it out")
    if not 1 <= until_phase < len(plan.phases):
        span = "1" if len(plan.phases) == 2 else f"1 to {len(plan.phases) - 1}"
        raise Mistake(
            f"--until-phase is {until_phase}, but this plan has {len(plan.phases)} phases: give "
            f"{span}, or leave it out to train to the end"
        )
    return plan.phases[until_phase].first_update


def run_until(run: Run, last: int | None = None) -> None:
    """Train until `last` updates are taken, or else to the end of the plan.

    Each turn does, in this order: evaluate, save, next, update, decide, log.
    """

    def end() -> int:  # decisions may move it
        return run.plan.num_updates if last is None else last

    if run.update >= end() and run.evaluated == run.update:
        return  # keep the time account of a finished run unchanged
    run.clock.spend("start-up")
    run.clock.ledger.write(run.examples)
    phase = None
    while True:
        update, asked_to_stop = run.update, run.stop.asked()
        # 1. Evaluate.
        if update in run.job.moments.evaluations and run.evaluated != update and not asked_to_stop:
            _evaluate(run)
            if run.evaluated != update:
                continue  # the evaluation was stopped by a request
        # 2. Save.
        if (update in run.job.moments.saves or asked_to_stop) and run.saved != update:
            _save(run)
        if asked_to_stop:
            _stop(run, asked_to_stop)
        # 3. Next.
        if update >= end():
            with run.paused("logging"):
                run.clock.ledger.write(run.examples)
            return
        row = run.plan.at(update)
        if phase is None:  # the feed's start-up time does not count as training
            with run.paused("first input"):
                begun = _waited(run, run.feed.ready)
            if not begun:
                continue
        if row.phase != phase:
            if not _compiled(run, row.batch_size):
                continue
            phase = row.phase
            point("phase begins")
            run.call({"kind": "phase", **standing(run, row)})
        rows = run.next_rows(end())
        if run.profile is not None:
            _profile(run, run.profile, phase)
        # 4. Update: one or more of one pass, or one of several. The guard forbids hidden transfers.
        named = {"phase": phase, "batch_size": row.batch_size, "updates": len(rows)}
        with (
            jax.profiler.StepTraceAnnotation("update", step_num=update, **named),
            jax.transfer_guard_device_to_host("disallow"),
        ):
            run.state = run.driver.update(run.state, rows)
        point("update dispatched")
        run.update = update + len(rows)
        run.progress.advance(run.update - 1)
        # 5. Decide: before anything is written of what comes next.
        if run.job.adaptive is not None and run.update in run.job.moments.decisions:
            decide(run, run.job.adaptive)
        # 6. Log.
        if run.update in run.job.moments.logs:
            log_training(run)
        elif run.clock.ledger.due():
            run.clock.train()
            run.clock.ledger.write(run.examples)


def _waited(run: Run, ready: Callable[[float], bool]) -> bool:
    """Wait until `ready` returns True; return False as soon as the run is asked to stop."""
    while not ready(SECONDS_BETWEEN_LOOKS):
        if run.stop.waiting():
            return False
    return True


def _compiled(run: Run, batch_size: int) -> bool:
    """Wait for the program of a batch size, and report the wait; return False on a stop request."""
    if run.ahead.ready(batch_size):
        return True
    before = run.clock.ledger.seconds.get("compilation", 0.0)
    with run.paused("compilation"):
        ready = _waited(run, partial(run.ahead.ready, batch_size))
    waited = run.clock.ledger.seconds["compilation"] - before
    if ready and run.driver.begun and waited >= 0.05:
        run.progress.say(f"waited {waited:.1f} s to compile batch size {batch_size:,}")
    return ready


def _profile(run: Run, profile: Profile, phase: int) -> None:
    """Begin or end a trace if one is due before the next call."""
    planned = run.plan.phases[phase]
    calls = -(-planned.updates // run.driver.most(planned.batch_size))
    if profile.due(phase, calls):
        with run.paused("profiling"):
            profile.turn()


def _evaluate(run: Run) -> None:
    """Evaluate and log the result; on a stop request return without one."""
    with run.paused("compilation"):
        if not _waited(run, partial(run.ahead.ready, None)):
            return
    with run.paused("evaluation"):
        known, setup = len(run.test.damaged), run.job.evaluated.setup
        found = evaluate(setup, run.ahead.evaluate(setup), run.state, run.test, run.stop.waiting)
    if found is None:
        return
    name_damaged(run, run.test.damaged[known:], "left out")
    refuse_diverged(run, found.scores["loss"])
    # At the first evaluation too, because a fault of the test set would else be found at the end.
    # Its line comes before the other, so that a run that has its last evaluation has been tested.
    tests = run.job.validation is not None and run.update in (0, run.plan.num_updates)
    if tests and not _tested(run):
        return
    with run.paused("logging"):
        write_line(run, {"kind": "eval", **standing(run), **found.line})
    run.evaluated = run.update
    if run.best is not None and run.best.improves(found.scores):
        _save_best(run, run.best, found.scores)


def _tested(run: Run) -> bool:
    """Evaluate on the test set and log the result; return False on a stop request."""
    setup, data = run.job.test
    with run.paused("evaluation"):
        test = agree.together("the test set", lambda: data.test(setup.mesh, setup.evaluation_size))
        with closing(test):
            compiled = run.ahead.evaluate(setup)
            found = evaluate(setup, compiled, run.state, test, run.stop.waiting)
    if found is None:
        return False
    name_damaged(run, test.damaged, "left out")
    refuse_diverged(run, found.scores["loss"], "on the test set ")
    with run.paused("logging"):
        write_line(run, {"kind": "test", **standing(run), **found.line})
    return True


def _save(run: Run) -> None:
    with run.paused("saving"):
        # A state with NaN or infinity must never become the last good checkpoint.
        if not jax.device_get(all_finite(run.state)):
            refuse_diverged(run, math.nan)
        agree.together("the run directory", run.check_held)
        attempt(run, run.checkpoints.wait)  # for the previous save
        if attempt(run, partial(run.checkpoints.save, run.examples, run.state, run.beside)):
            run.saved, run.unsaved = run.update, ""
            if run.adapted is not None and run.adapted.grew_at(run.examples):
                attempt(run, run.checkpoints.wait)  # on disk before it takes effect
    run.clock.ledger.write(run.examples)


def _save_best(run: Run, best: Best, scores: Mapping[str, float]) -> None:
    with run.paused("saving"):
        agree.together("the run directory", run.check_held)
        attempt(run, best.checkpoints.wait)
        if attempt(run, partial(best.checkpoints.save, run.examples, run.state)):
            best.saved(scores)


def _stop(run: Run, name: str) -> None:
    attempt(run, run.checkpoints.wait)
    where = f"{name} at update {run.update:,} of {run.plan.num_updates:,}"
    if run.unsaved:
        raise Interrupted(f"{where}: not saved ({run.unsaved}). {kept(run)}. {AGAIN}")
    raise Interrupted(f"{where}: saved. {AGAIN}")


@contextmanager
def _outer_failures_said(directory: Path) -> Iterator[None]:
    """Turn operating system errors and lost processes into messages that say what to do."""
    try:
        yield
    except OSError as error:
        if OF_CALLBACK in getattr(error, "__notes__", ()):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"no space left to write to {directory}. Free some"
        else:
            where = error.filename2 or error.filename or directory
            what = f"{where}: {error.strerror or error}. Fix this"
        saved = any(path.name.isdecimal() for path in (directory / "checkpoints").glob("*"))
        then = "resume from the last checkpoint" if saved else "start over"
        raise Mistake(f"{what}, then run the same command to {then}") from error
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not str(error).startswith(PEER_LOST):
            raise
        raise Interrupted(
            f"lost contact with another process ({str(error).splitlines()[0]}). Restart all "
            "processes: they resume from the last checkpoint"
        ) from error
