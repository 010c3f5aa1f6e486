"""Write a run's lines of metrics, and refuse a loss that is not finite."""

import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.plan.plan import Row
from jbatch.run.evaluate import finished, finite
from jbatch.run.goodput import goodput
from jbatch.run.metrics import LARGEST
from jbatch.run.run import Run
from jbatch.run.saving import attempt, kept
from jbatch.step.noise import Noise
from jbatch.step.pure import State, exact, no_totals
from jbatch.task.base import OF_ADAM, OVER_SIMPLE, SIMPLE, SQUARED, TRACE


class Diverged(Mistake):
    """The loss became NaN or infinite."""


def log_training(run: Run) -> None:
    """Write the line of a log point, and start the totals anew."""
    with run.paused("logging"):
        totals, noise = jax.device_get((run.state.totals, run.state.noise))
        sums = exact(totals)
        scores = finished(run.job.setup.task, sums)
        refuse_diverged(run, scores["loss"])
        zero = jax.device_put(
            no_totals(run.job.setup.learner), meshes.replicated(run.job.setup.mesh)
        )
        run.state = run.state._replace(totals=zero)
        if run.adapted is not None:
            run.adapted = run.adapted.logged(sums)
        clock = run.clock
        since = run.plan.batch_sizes[run.logged : run.update]  # the clock timed all of these
        line: dict[str, Any] = {
            "kind": "train",
            **standing(run),
            **finite(scores),
            **noise_of(noise, float(since[-1])),
            "updates_per_second": len(since) / clock.training,
            "examples_per_second": float(since.sum()) / clock.training,
            "input_wait": clock.waiting / clock.training,
            "damaged": len(run.feed.damaged) - run.damaged,
            "goodput": goodput(clock.ledger.seconds),
        }
        if run.moved is not None:
            line |= run.moved.since(run.state.params)
        name_damaged(run, run.feed.damaged[run.damaged :], "replaced")
        run.damaged = len(run.feed.damaged)
        write_line(run, line)
        run.progress.logged(line)
        run.logged = run.update
        clock.lap()
        run.clock.ledger.write(run.examples)


def noise_of(noise: Noise | None, batch_size: float) -> dict[str, float]:
    """Return the fields of the measured noise; {} before the first measurement.

    A ratio is left out while its average |G|² is not over 0: the noise is too large for it.
    """
    if noise is None or not noise.weight:
        return {}
    squared, trace = (np.asarray(each, np.float64) for each in noise[:2])
    line = {SQUARED: float(squared[0]), TRACE: float(trace[0])}
    scales = [t / s if s > 0 else math.nan for s, t in zip(squared, trace, strict=True)]
    line[SIMPLE] = scales[0]
    line[OVER_SIMPLE] = batch_size / scales[0] if scales[0] > 0 else math.nan
    if len(scales) > 1:
        line[OF_ADAM] = scales[1]
    return {name: value for name, value in line.items() if abs(value) <= LARGEST}


def name_damaged(run: Run, names: Sequence[str], what: str) -> None:
    """Warn about each damaged file once."""
    for name in dict.fromkeys(names):
        if name not in run.named:
            run.progress.say(f"warning: {name} does not decode and is {what}")
            run.named.add(name)


def standing(run: Run, row: Row | None = None) -> dict[str, float]:
    """Return the run's position, and a row of the plan: by default of its last update."""
    examples = run.plan.position(run.update)
    row = run.plan.at(max(run.update - 1, 0)) if row is None else row
    return {
        "update": run.taken,
        "examples": examples,
        "epoch": examples / run.plan.examples_per_epoch,
        "seconds": time.perf_counter() - run.begun,
        "phase": row.phase,
        "batch_size": row.batch_size,
        "learning_rate": row.learning_rate,
        "noise_scale": run.plan.noise_scale(row.update),
    }


def write_line(run: Run, line: dict[str, Any]) -> None:
    """Write a line of metrics, and give it to the trackers and callbacks."""
    if run.metrics is not None:
        run.metrics.write(line)
    if run.told is not None:
        run.told(line)
    run.call(line)


@jax.jit
def all_finite(state: State) -> jax.Array:
    """Return whether parameters and loss are finite: a bool scalar.

    A metric or a task's own state may be infinite.
    """
    both = state.params, state.totals.sums["loss"]
    leaves = [leaf for leaf in jax.tree.leaves(both) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def refuse_diverged(run: Run, loss: float, where: str = "") -> None:
    """Raise Diverged if the loss is not finite, after a line that says so."""
    if math.isfinite(loss):
        return
    row = run.plan.at(max(run.update - 1, 0))
    write_line(run, {"kind": "diverged", **standing(run)})
    attempt(run, run.checkpoints.wait)  # so that the message names the last good checkpoint
    raise Diverged(
        f"the loss {where}is not finite between updates {run.logged:,} and {run.update:,} (at "
        f"{run.plan.measure.place(row.position)}, batch size {row.batch_size:,}, learning rate "
        f"{row.learning_rate:g}). "
        f"{kept(run)}. Lower the learning rate, or warm it up"
    )
