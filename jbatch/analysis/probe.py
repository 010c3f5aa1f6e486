"""Probe a run for its critical batch: train branches from its checkpoints, in larger batches."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import gcd, isfinite, lcm
from pathlib import Path
from typing import NamedTuple

from jbatch.analysis.branches import trainer_of
from jbatch.analysis.unfinished import Key, Unfinished, folder_of
from jbatch.errors import Mistake, not_negative, plain, positive, real, shown, whole
from jbatch.experiment.described import describe
from jbatch.experiment.experiment import Coupling, Experiment
from jbatch.plan.branch import Window, forgets, make_branch, make_window
from jbatch.plan.critical import Branch, Place, make_ramp, ramp_text
from jbatch.plan.plan import Plan, exactly
from jbatch.plan.probed import Probed
from jbatch.run.directory import holds, saved_examples
from jbatch.run.kept import read_plan
from jbatch.run.newest import Opened, opened, read_checkpoint

NEAR = 0.05  # of the run, from an asked place to the checkpoint that is taken for it
SAID = 0.01  # of the run; a checkpoint that is farther away is named


class Probing(NamedTuple):
    """A probe that is checked, and can begin."""

    run: Opened
    directory: Path
    at: tuple[float, ...]
    windows: list[Window]  # from each place
    multiples: list[int]
    plans: list[list[Plan]]  # of each window's branches
    tolerance: float
    seed: int


def prepare(
    experiment: Experiment,
    directory: Path,
    *,
    at: Sequence[float],
    multiples: Sequence[int],
    window: float | None,
    tolerance: float,
    seed: int | None,
    say: Callable[[str], None],
) -> Probing:
    """Check a probe of a run; `jbatch.probe` explains its values.

    Raises:
        Mistake: if they are impossible, a place has no checkpoint, or a batch is too large.
    """
    at, multiples, window, tolerance, seed = asked = plain((at, multiples, window, tolerance, seed))
    _check_asked(*asked)
    run = opened(experiment, directory)
    if not holds(directory, describe(run.experiment), run.plan):
        raise Mistake(
            f"the schedule of {directory} gives other rates or sizes here than it did: probe it "
            "with the versions of jax and optax that trained it"
        )
    if run.experiment.adapts:  # its plan is what it has decided
        run = run._replace(plan=read_plan(directory, run.plan.digest))
    seed = _other(run.experiment.seed) if seed is None else seed
    if seed == run.experiment.seed:
        raise Mistake(
            f"seed is {seed}, the run's own: its batch would win by memory, because the run has "
            "seen these examples in this order. Give another"
        )
    multiples = sorted({1, *multiples})
    there = {*saved_examples(directory), *saved_examples(folder_of(directory))}
    found = checkpoints_at(run.plan, there, at, directory, say)
    windows = [make_window(run.plan, position, multiples, window, len(found)) for position in found]
    plans = [[make_branch(run.plan, here, multiple) for multiple in multiples] for here in windows]
    _check(run, windows, plans, say)
    return Probing(run, directory, tuple(at), windows, multiples, plans, tolerance, seed)


def train(probing: Probing, kept: Unfinished, say: Callable[[str], None]) -> Probed:
    """Train the branches that are not finished yet. The run itself stays as it is.

    Args:
        probing: which branches.
        kept: what is finished already, and what this adds.
        say: called with the name of each branch before it is trained.

    Raises:
        Mistake: if the run removes a checkpoint before it is kept, or a run's batch diverges.
    """
    begun = time.perf_counter()
    run, multiples, seed = probing.run, probing.multiples, probing.seed
    for here in probing.windows:  # first of all: the run may be removing them
        kept.keep_checkpoint(here.position)
    trainer = trainer_of(run, probing.plans, seed)
    examples = sum(here.examples for here in probing.windows) * len(multiples)
    say(f"trains {examples:,} examples, {examples / run.plan.end:.0%} of the run's")
    places, earlier = [], 0.0
    for asked, here, branches in zip(probing.at, probing.windows, probing.plans, strict=True):
        start, found_there = None, []
        for multiple, plan in zip(multiples, branches, strict=True):
            key = Key(run.plan.digest, here, multiple, seed)
            name = f"{run.plan.measure.place(here.position)}: batch {plan.at(0).batch_size:,}"
            if finished := kept.branch(key):
                say(f"{name}, finished earlier")
                branch, seconds = finished
                earlier += seconds
            else:
                say(name)
                since = time.perf_counter()
                start = start or read_checkpoint(
                    probing.directory, run.setup, here.position, kept.checkpoints
                )
                branch = trainer.train(start.state, plan, here, multiple)
                kept.add(key, branch, time.perf_counter() - since)
            found_there.append(branch)
            _check_kept(run.plan, here, found_there[0])
        places.append(Place(asked, here, tuple(found_there)))
    ramp, updates = _ramp(run.experiment, run.plan, places, probing.tolerance)
    seconds = time.perf_counter() - begun + earlier
    return Probed(run.plan, tuple(places), probing.tolerance, seed, ramp, updates, seconds)


def _check_asked(
    at: Sequence[float],
    multiples: Sequence[int],
    window: float | None,
    tolerance: float,
    seed: int | None,
) -> None:
    """Raise Mistake if the values of a probe are impossible for any run."""
    for name, given in (("at", at), ("multiples", multiples)):
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise Mistake(f"{name} is {shown(given)}: give several values, as ({shown(given)},)")
    if not at:
        raise Mistake("at has no values: give shares of the run, for example 0.1 0.3 0.6")
    for share in at:
        if not 0 < real("at", share) < 1:
            raise Mistake(
                f"at is {share:g}: give shares of the run, over 0 and under 1, such as 0.3"
            )
    for multiple in multiples:
        whole("multiples", multiple)
    if not set(multiples) - {1}:
        raise Mistake("multiples has none over 1: give larger batches too, such as 1 2 4 8")
    for name, given in (("at", at), ("multiples", multiples)):
        if len(set(given)) < len(given):
            raise Mistake(f"{name} has {' '.join(f'{each:g}' for each in given)}: give each once")
    if window is not None:
        positive("window", window, of="a length in plan.unit")
    not_negative("tolerance", tolerance)
    if seed is not None:
        whole("seed", seed, least=0, most=2**32 - 1)


def _other(seed: int) -> int:
    """Return a seed that is not the run's."""
    return (seed + 1) % 2**32


def _check(
    run: Opened,
    windows: Sequence[Window],
    plans: Sequence[Sequence[Plan]],
    say: Callable[[str], None],
) -> None:
    """Raise Mistake if devices cannot share a batch; warn of windows that are too short."""
    for here, branches in zip(windows, plans, strict=True):
        for plan in branches:
            plan.check(run.setup.devices, run.setup.task.group)
        largest = branches[-1]
        if not forgets(largest):
            say(
                f"warning: from {run.plan.measure.place(here.position)}, the largest batch takes "
                f"{largest.num_updates} updates, too few to forget the momentum of before: give a "
                "longer window, or fewer multiples"
            )


def _check_kept(plan: Plan, window: Window, branch: Branch) -> None:
    """Raise Mistake if the branch that keeps the batch diverged."""
    if not isfinite(branch.loss):
        raise Mistake(
            f"the branch that keeps the batch of {window.batch_size:,} diverges from "
            f"{plan.measure.place(window.position)} on, so there is nothing to compare with: leave "
            "that place out"
        )


def checkpoints_at(
    plan: Plan,
    saved: Collection[int],
    at: Sequence[float],
    directory: Path,
    say: Callable[[str], None],
) -> list[int]:
    """Return the checkpoint nearest to each place: examples seen.

    Args:
        plan: of the run.
        saved: examples seen at each of the run's checkpoints.
        at: shares of the run.
        directory: of the run.
        say: told of a checkpoint that is not quite there.

    Raises:
        Mistake: if there is none near a place, or one for two places.
    """
    # The last one has no update left.
    left = sorted(each for each in saved if plan.update_at(each) < plan.num_updates)
    found: dict[int, float] = {}
    for share in at:
        nearest = min(left, key=lambda each: abs(each - share * plan.end), default=None)
        if nearest is None or abs(nearest - share * plan.end) > NEAR * plan.end:
            raise Mistake(
                f"{directory} has no checkpoint near {share:g} of its run: {_where(plan, left)}"
                f"train it anew with --keep-every {_interval(plan, at):.6g}, in another directory, "
                f"to have one at {'each of ' * (len(at) > 1)}{' '.join(f'{each:g}' for each in at)}"
            )
        if nearest in found:
            raise Mistake(
                f"at {found[nearest]:g} and {share:g} have the same nearest checkpoint, at "
                f"{nearest / plan.end:.3g}: give one of them"
            )
        if abs(nearest - share * plan.end) > SAID * plan.end:
            where = f"{plan.measure.place(nearest)} ({nearest / plan.end:.3g} of the run)"
            say(f"at {share:g}: the nearest checkpoint is at {where}")
        found[nearest] = share
    return list(found)


def _where(plan: Plan, saved: Sequence[int]) -> str:
    """Say at which shares of the run there are checkpoints, for a message."""
    if not saved:
        return "it has none from before its end. To probe it, "
    shares = " ".join(f"{each / plan.end:.3g}" for each in saved)
    return f"it kept those at {shares}. Give some of these, or "


def _interval(plan: Plan, at: Sequence[float]) -> float:
    """Return an interval in the plan's unit whose multiples have all of the places."""
    shares = [exactly(share) for share in at]
    below = reduce(lcm, (share.denominator for share in shares))
    step = Fraction(reduce(gcd, (int(share * below) for share in shares)), below)
    return float(step) * plan.length


def _ramp(
    experiment: Experiment, plan: Plan, places: Sequence[Place], tolerance: float
) -> tuple[str, int]:
    """Return the ramp through the critical batches as text, and the updates of its plan."""
    coupling = experiment.plan
    length = coupling.length
    if length is None:
        assert coupling.num_epochs is not None  # `couple` has checked it
        length = plan.measure.of_epochs(float(coupling.num_epochs))
    made = make_ramp(int(plan.batch_sizes[0]), places, tolerance)
    text = ramp_text(made, plan.measure, plan.length / length)
    ramped = replace(experiment, plan=by_hand(coupling, text), adaptive=None)
    return text, ramped.make_plan().num_updates


def by_hand(coupling: Coupling, ramp: str) -> Coupling:
    """Return the coupling with a ramp, in place of what sets its batch sizes."""
    return replace(
        coupling,
        ramp=ramp,
        batch_size=None,
        max_batch_size=None,
        growth_factor=None,
        batch_sizes=None,
        batch_multiple=None,
        allow_shrink=False,
        growth=1.0,
        growth_rule="paper",
        decided=None,
    )
