"""Train a run, from its plan to its last checkpoint."""

import errno
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jbatch.devices import meshes
from jbatch.distributed import agree
from jbatch.distributed.preemption import Interrupted, PhaseEnd
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.origin import Origin
from jbatch.files import expanded
from jbatch.run.checkpoint import SaveFailed
from jbatch.run.evaluate import evaluate
from jbatch.run.goodput import goodput
from jbatch.run.profiler import Profile
from jbatch.run.progress import Bar, Lines
from jbatch.run.run import Run
from jbatch.run.start import open_run
from jbatch.step.pure import State, means, no_totals
from jbatch.testing import point
from jbatch.upstream_words import PEER_LOST

SECONDS_BETWEEN_LOOKS = 0.1  # between checks for a stop request while the run waits
AGAIN = "Run the same command to resume"


class Diverged(Mistake):
    """The loss became NaN or infinite."""


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
    profile: bool = False,
) -> Run:
    """Train to the end of the plan, and resume from the newest checkpoint if there is one.

    Args:
        experiment: what to train.
        directory: the run directory; created if it does not exist.
        origin: where the experiment was read from, saved for `eval` and `report`.
        devices: devices to train on; None for all that JAX finds.
        progress: shows the run's progress; None shows messages only.
        label: the run's name in these messages.
        until_phase: stop before this phase of the plan; 1 is the second phase.
        accept_plan_change: if the directory has another plan, resume with this one from the
            examples seen.
        profile: trace some calls of each phase in the first process, into `directory`/profile.

    Returns:
        The finished run.

    Raises:
        Mistake: if the experiment cannot be trained (nothing is written), or the disk is full.
        Diverged: if the loss is not finite; the last checkpoint is from before that.
        Interrupted: on SIGTERM or Ctrl-C, after saving; or if another process is lost.
        PhaseEnd: before `until_phase` begins, after saving.
    """
    directory = expanded(Path(directory))
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
        ) as run,
        _profiled(run, directory) if profile and agree.first() else nullcontext(),
    ):
        run_until(run, last)
        _attempt(run, run.checkpoints.wait)
        agree.together("the run directory", run.check_held)
        if run.unsaved:
            raise Mistake(
                f"could not save the checkpoint at update {run.update:,} ({run.unsaved}). "
                f"{_kept(run)}. Free disk space, then run the same command to resume"
            )
        if last < run.plan.num_updates:
            where = "begins" if run.update == last else f"began at {last:,}, and the run is"
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


def _last_update(experiment: Experiment, until_phase: int | None) -> int:
    """Return the number of updates after which the run ends or stops."""
    plan = experiment.plan.plan()
    if until_phase is None:
        return plan.num_updates
    if len(plan.phases) == 1:
        raise Mistake(f"--until-phase is {until_phase}, but this plan has one phase: leave it out")
    if not 1 <= until_phase < len(plan.phases):
        raise Mistake(
            f"--until-phase is {until_phase}, but this plan has {len(plan.phases)} phases: give 1 "
            f"to {len(plan.phases) - 1}, or leave it out to train to the end"
        )
    return plan.phases[until_phase].first_update


def run_until(run: Run, last: int) -> None:
    """Train until `last` updates are taken.

    Each turn does, in this order: evaluate, save, next, update, log.
    """
    if run.update >= last and run.evaluated == run.update:
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
        if update >= last:
            with _paused(run, "logging"):
                run.clock.ledger.write(run.examples)
            return
        row = run.plan.at(update)
        if phase is None:  # the feed's start-up time does not count as training
            with _paused(run, "first input"):
                begun = _waited(run, run.feed.ready)
            if not begun:
                continue
        if row.phase != phase:
            if not _compiled(run, row.batch_size):
                continue
            phase = row.phase
            point("phase begins")
        rows = run.next_rows(last)
        if run.profile is not None:
            _profile(run, run.profile, phase)
        # 4. Update: one call, of one or more updates. The guard forbids hidden transfers.
        named = {"phase": phase, "batch_size": row.batch_size, "updates": len(rows)}
        with (
            jax.profiler.StepTraceAnnotation("update", step_num=update, **named),
            jax.transfer_guard_device_to_host("disallow"),
        ):
            run.state = run.driver.update(run.state, rows)
        point("update dispatched")
        run.update = update + len(rows)
        run.progress.advance(run.update - 1)
        # 5. Log.
        if run.update in run.job.moments.logs:
            _log(run)
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
    with _paused(run, "compilation"):
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
        with _paused(run, "profiling"):
            profile.turn()


def _evaluate(run: Run) -> None:
    """Evaluate and log the result; on a stop request return without one."""
    with _paused(run, "compilation"):
        if not _waited(run, partial(run.ahead.ready, None)):
            return
    with _paused(run, "evaluation"):
        known = len(run.test.damaged)
        found = evaluate(run.ahead.evaluate(), run.state, run.test, run.stop.waiting)
    if found is None:
        return
    _name_damaged(run, run.test.damaged[known:], "left out")
    _refuse_diverged(run, found.scores["loss"])
    _write(run, {"kind": "eval", **_standing(run), **found.line})
    run.evaluated = run.update


def _save(run: Run) -> None:
    with _paused(run, "saving"):
        # A state with NaN or infinity must never become the last good checkpoint.
        if not jax.device_get(_all_finite(run.state)):
            _refuse_diverged(run, math.nan)
        agree.together("the run directory", run.check_held)
        _attempt(run, run.checkpoints.wait)  # for the previous save
        if _attempt(run, partial(run.checkpoints.save, run.examples, run.state)):
            run.saved, run.unsaved = run.update, ""
    run.clock.ledger.write(run.examples)


def _attempt(run: Run, work: Callable[[], None]) -> bool:
    """Run a part of saving; if it fails, warn and continue, because the next save may succeed."""
    try:
        work()
    except SaveFailed as failure:
        run.unsaved = str(failure)
        run.progress.say(f"warning: could not save a checkpoint ({failure}). {_kept(run)}")
        return False
    return True


def _kept(run: Run) -> str:
    newest = run.checkpoints.newest
    if newest is None:
        return "There is no checkpoint yet"
    return f"The last good checkpoint is update {run.plan.update_at(newest):,}"


def _stop(run: Run, name: str) -> None:
    _attempt(run, run.checkpoints.wait)
    where = f"{name} at update {run.update:,} of {run.plan.num_updates:,}"
    if run.unsaved:
        raise Interrupted(f"{where}: not saved ({run.unsaved}). {_kept(run)}. {AGAIN}")
    raise Interrupted(f"{where}: saved. {AGAIN}")


def _log(run: Run) -> None:
    with _paused(run, "logging"):
        totals = jax.device_get(run.state.totals)
        scores = means(totals)
        _refuse_diverged(run, scores["loss"])
        zero = jax.device_put(
            no_totals(run.job.setup.learner), meshes.replicated(run.job.setup.mesh)
        )
        run.state = run.state._replace(totals=zero)
        clock = run.clock
        since = run.plan.batch_sizes[run.logged : run.update]  # the clock timed all of these
        line: dict[str, Any] = {
            "kind": "train",
            **_standing(run),
            **scores,
            "updates_per_second": len(since) / clock.training,
            "examples_per_second": float(since.sum()) / clock.training,
            "input_wait": clock.waiting / clock.training,
            "damaged": len(run.feed.damaged) - run.damaged,
            "goodput": goodput(clock.ledger.seconds),
        }
        if run.moved is not None:
            line |= run.moved.since(run.state.params)
        _name_damaged(run, run.feed.damaged[run.damaged :], "replaced")
        run.damaged = len(run.feed.damaged)
        _write(run, line)
        run.progress.logged(line)
        run.logged = run.update
        clock.lap()
        run.clock.ledger.write(run.examples)


def _name_damaged(run: Run, names: Sequence[str], what: str) -> None:
    """Warn about each damaged file once."""
    for name in dict.fromkeys(names):
        if name not in run.named:
            run.progress.say(f"warning: {name} does not decode and is {what}")
            run.named.add(name)


def _standing(run: Run) -> dict[str, float]:
    """Return the run's position, and the plan's row of its last update."""
    examples = run.plan.position(run.update)
    row = run.plan.at(max(run.update - 1, 0))
    return {
        "update": run.taken,
        "examples": examples,
        "epoch": examples / run.plan.num_examples,
        "seconds": time.perf_counter() - run.begun,
        "phase": row.phase,
        "batch_size": row.batch_size,
        "learning_rate": row.learning_rate,
        "noise_scale": run.plan.noise_scale(row.update),
    }


def _write(run: Run, line: dict[str, Any]) -> None:
    if run.metrics is not None:
        run.metrics.write(line)


@contextmanager
def _paused(run: Run, what: str) -> Iterator[None]:
    """Wait for the pending updates, then account for the time of the block under `what`."""
    jax.block_until_ready(run.state)
    with run.clock.paused(what):
        yield


@contextmanager
def _outer_failures_said(directory: Path) -> Iterator[None]:
    """Turn operating system errors and lost processes into messages that say what to do."""
    try:
        yield
    except OSError as error:
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


@jax.jit
def _all_finite(state: State) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _refuse_diverged(run: Run, loss: float) -> None:
    if math.isfinite(loss):
        return
    row = run.plan.at(max(run.update - 1, 0))
    _write(run, {"kind": "diverged", **_standing(run)})
    _attempt(run, run.checkpoints.wait)  # so that the message names the last good checkpoint
    raise Diverged(
        f"the loss is not finite between updates {run.logged:,} and {run.update:,} (epoch "
        f"{row.epoch:.2f}, batch size {row.batch_size:,}, learning rate {row.learning_rate:g}). "
        f"{_kept(run)}. Lower the learning rate, or warm it up"
    )
