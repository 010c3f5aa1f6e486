"""Let a run decide on its batch size, and write it down before it takes effect.

A decision comes after every k-th update. Its inputs are replicated values of the state at that
update, and what stands beside the state in checkpoints. So a run that resumes decides alike.
"""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbatch.distributed import agree
from jbatch.files import write_whole
from jbatch.plan.adapt import Adaptive, Averages, Choice, Place, choose, remembered
from jbatch.plan.decided import Growths, Unreached
from jbatch.plan.saved import plan_bytes
from jbatch.run.adapted import Adapted
from jbatch.run.build import ENDLESS
from jbatch.run.job import Job
from jbatch.run.kept import PLAN
from jbatch.run.log import refuse_diverged
from jbatch.run.run import Run
from jbatch.step import noise
from jbatch.step.noise import Noise
from jbatch.step.pure import exact
from jbatch.task.base import OF_ADAM, SIMPLE, SQUARED, TRACE


def decide(run: Run, adaptive: Adaptive) -> None:
    """Decide on the batch size of the updates to come. Process 0's decision holds for all."""
    before = run.adapted
    assert before is not None  # an adaptive run has it
    with run.paused("logging"):
        measured, totals = jax.device_get((run.state.noise, run.state.totals))
        sums = exact(totals)
        total, weight = before.logged(sums).loss
        loss = total / weight if weight else math.nan
        losses = before.losses
        if math.isfinite(loss):
            losses = remembered(adaptive.rule, losses, loss)
        size = int(run.plan.batch_sizes[run.update - 1])
        place = Place(size, run.plan.num_examples or ENDLESS)
        averages = _averages(measured, losses)
        choice = choose(adaptive, averages, place, run.plan.sizes)
        mine = json.dumps([choice, _numbers(averages, loss)])
        found, numbers = json.loads(agree.exchange("a decision", mine)[0])
        choice, job = _fitting(run.job, run.update, size, before.growths, Choice(*found))
        line = {
            "update": run.taken,
            "examples": run.examples,
            "batch_size": size,
            "next_batch_size": choice.batch_size,
            "why": choice.why,
            **numbers,
        }
        grows = choice.batch_size != size
        if grows and weight:  # a run that has diverged does not grow
            refuse_diverged(run, loss)
        agree.together("plan.jsonl", lambda: _write(run, line))
        growth = ((run.examples, choice.batch_size),) if grows else ()
        # The totals go on to the next log point: what they hold now is of this decision.
        held = (-float(sums["loss"][0]), -float(sums["loss"][1]))
        run.adapted = Adapted(before.growths + growth, held, () if grows else losses)
        if grows:
            _grow(run, job, choice)


def _fitting(
    job: Job, update: int, size: int, growths: Growths, choice: Choice
) -> tuple[Choice, Job]:
    """Return the choice and the job after it; it stays if no update would be left."""
    if choice.batch_size == size:
        return choice, job
    try:
        grown = job.decided((*growths, (job.plan.position(update), choice.batch_size)))
    except Unreached:
        return Choice(size, f"no batch of {choice.batch_size:,} is left in the run"), job
    return choice, grown


def _write(run: Run, line: dict[str, Any]) -> None:
    if run.decisions is not None:
        run.decisions.write(line)


def _grow(run: Run, job: Job, choice: Choice) -> None:
    """Let a run go on with another plan."""
    warned = set(run.job.warnings) | set(run.plan.warnings)
    run.job = job
    agree.together("the decided plan", lambda: save_plan(run.directory, job))
    run.checkpoints.keep(job.kept_examples)
    run.feed.follow(job.plan, run.update)
    run.progress.follow(job.plan)
    run.progress.say(
        f"grows to batch {choice.batch_size:,} after update {run.update:,}: {choice.why}"
    )
    for warning in job.plan.warnings:
        if warning not in warned:
            run.progress.say(f"warning: {warning}")


def save_plan(directory: Path, job: Job) -> None:
    """Write the plan as it is decided so far, for reports."""
    if agree.first():
        write_whole(directory / "plan.txt", job.table)
        write_whole(directory / PLAN, plan_bytes(job.plan))


def _averages(measured: Noise | None, losses: tuple[float, ...]) -> Averages:
    if measured is None:
        return Averages(losses=losses)
    squared, trace = (tuple(np.asarray(each, np.float64).tolist()) for each in measured[:2])
    return Averages(squared, trace, noise.updates_of(measured), losses)


def _numbers(averages: Averages, loss: float) -> dict[str, Any]:
    """Return what a decision was made of, as fields of its line."""
    found: dict[str, Any] = {"loss": loss, "measured_updates": averages.measured}
    for which, (squared, trace) in enumerate(zip(averages.squared, averages.trace, strict=True)):
        if which == 0:
            found |= {SQUARED: squared, TRACE: trace}
        if squared > 0:
            found[OF_ADAM if which else SIMPLE] = trace / squared
    return {name: value for name, value in found.items() if math.isfinite(value)}
