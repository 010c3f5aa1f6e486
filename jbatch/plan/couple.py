"""Coupling: turn a learning-rate schedule into a plan that grows the batch.

docs/theory.md derives the rule and says where it breaks down; docs/plans.md describes the units.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, not_negative, positive, share, shown, whole
from jbatch.plan import ramp as ramps
from jbatch.plan import schedule as schedules
from jbatch.plan.batch_sizes import ROUNDING_OF_DECAY, allowed_sizes
from jbatch.plan.decided import as_decided, check_reached, read_decided
from jbatch.plan.hold import Hold, Preset, Values, check_largest, follow, read_hold
from jbatch.plan.measure import Measure, Unit, make_measure
from jbatch.plan.optimal import by_rates_to_come, check_optimal
from jbatch.plan.over_updates import over_updates
from jbatch.plan.plan import Plan
from jbatch.plan.walk import SizeAt, walk
from jbatch.plan.warnings import plan_warnings

GrowthRule = Literal["paper", "optimal"]
MOST_UPDATES = 10_000_000  # a plan holds every update in memory
MOST_POSITION = 2**53  # float64 represents every whole number up to here


def couple(
    schedule: schedules.Schedule,
    *,
    num_examples: int | None = None,
    num_epochs: float | None = None,
    length: float | None = None,
    unit: Unit = "epochs",
    sequence_length: int | None = None,
    batch_size: int | None = None,
    max_batch_size: int | None = None,
    growth_factor: float | None = None,
    batch_sizes: Sequence[int] | None = None,
    batch_multiple: int | None = None,
    ramp: Mapping[float, int] | str | None = None,
    allow_shrink: bool = False,
    momentum: float = 0.0,
    b2: float | None = None,
    eps: float | None = None,
    weight_decay: float | None = None,
    hold: Hold | Preset | None = None,
    scaling: float | None = None,
    growth: float = 1.0,
    growth_rule: GrowthRule = "paper",
    base_batch_size: int | None = None,
    adapt_regime: bool = False,
    decided: Mapping[int, int] | None = None,
) -> Plan:
    """Turn a learning-rate schedule into a plan that grows the batch where the rate would decay.

    With s(e) = schedule(e) / (its running peak), the decay by epoch e (or example, token, update):

        B(e) = largest allowed size ≤ B0 · s(e)^(−q)
        ε(e) = schedule(e) · (B(e)/B0)^p

    Both are looked up at each update's first example. The batch never shrinks (unless a ramp may),
    and an epoch, or a stream, ends with its last whole batch. If the schedule was tuned for another
    batch size, give that as `base_batch_size`: it replaces B0 in ε(e).

    With p = 1 and q = 1 this is the "increasing batch size" of Smith et al. (arXiv 1711.00489).
    `max_batch_size` equal to B0 gives their "decaying learning rate", a value in between their
    "hybrid". p = 1/2 is the square-root rule for Adam-like optimizers (arXiv 2205.10287); with
    q = 1 it is Seesaw (arXiv 2510.14717). ε/B^p follows the schedule exactly. For p = 1 it is the
    noise scale, up to the factor 1 − B/N.

    Give at most one of `growth_factor`, `batch_sizes`, `batch_multiple` and `ramp`. With none, the
    batch stays at `batch_size`. Without `num_examples` the plan is of a stream without epochs.

    Args:
        schedule: learning rate over the unit (epochs unless you say so): an optax schedule, or a
            function of one float, for which JAX need not be installed.
        num_examples: N, examples in the training set; None for a stream without epochs.
        num_epochs: length of the run in epochs; with a fraction the run ends within an epoch.
        length: length of the run in the unit, instead of num_epochs.
        unit: what schedule, length and ramp count, and the printed table: epochs, examples, tokens
            or updates. An update counts as the examples of one at the base batch, so that a growing
            batch does not change what a schedule over updates means (docs/plans.md).
        sequence_length: tokens of an example.
        batch_size: B0, examples of the first update, over all devices; None for the ramp's first.
        max_batch_size: the largest size, always allowed; None for the largest grid size ≤ N.
        growth_factor: allow B0 times the powers of this number.
        batch_sizes: allow these sizes, ascending from B0.
        batch_multiple: allow the multiples of this number, from B0 on.
        ramp: start → size, set by hand from 0 on; the rate follows as in ε(e). Also as text:
            "0:768 250B:1536", or "32 32 65536" for start, increment and examples, which ends at
            max_batch_size.
        allow_shrink: let the sizes of a ramp fall.
        momentum: m of the optimizer (β1 for Adam), in [0, 1), at the base batch.
        b2: Adam's β2 at the base batch; needed only if `hold` makes it follow the batch.
        eps: Adam's ε, likewise.
        weight_decay: λ, likewise.
        hold: which of these four follow the batch, as a Hold or one of its presets: "smith",
            "seesaw", "malladi" or "half_life" (docs/following.md). None: all stay as they are.
        scaling: p, the scaling rule, in [0, 1]; 0 keeps the schedule's rate. None: the preset's, or
            else 1.
        growth: q, how much of the decay becomes batch growth, in [0, 1/p]; 0 for none.
        growth_rule: "paper" is B(e) above. "optimal" takes the largest allowed size ≤
            B0 · s(e)/(1 − e/length), which is B ∝ ε/√(sum of the rates to come); it needs p = 0.
        base_batch_size: the batch size that the schedule was tuned for; None for B0.
        adapt_regime: keep the number of updates that `base_batch_size` would take, instead of the
            length. This multiplies the length and the places of the schedule and ramp by
            B0/base_batch_size, in whole batches of an epoch (Hoffer et al., arXiv 1705.08741,
            section 4.2).
        decided: sizes that a run has decided on among the allowed ones, instead of growth with the
            decay: examples seen → batch size from there on, from 0 on; the rate follows as in
            ε(e) (docs/adaptive.md).

    Returns:
        The plan, one row for each update.

    Raises:
        Mistake: if sizes are impossible, rates are negative, not finite or all 0, or the unit lacks
            what it needs.

    Examples:
        >>> import optax
        >>> schedule = optax.piecewise_constant_schedule(0.1, {60: 0.2, 120: 0.2, 160: 0.2})
        >>> plan = jbatch.couple(
        ...     schedule, num_examples=50_000, num_epochs=200, batch_size=128,
        ...     max_batch_size=5120, growth_factor=5, momentum=0.9,
        ... )
        >>> plan.num_updates, [phase.batch_size for phase in plan.phases]
        (29040, [128, 640, 3200, 5120])
    """
    if num_examples is not None:
        num_examples = whole("num_examples", num_examples, most=MOST_POSITION)
    if max_batch_size is not None:
        max_batch_size = whole("max_batch_size", max_batch_size, most=MOST_POSITION)
    in_examples = False
    if ramp is not None:
        ramp, in_examples = ramps.read_ramp(ramp, max_batch_size)
        if in_examples:
            max_batch_size = None
        if batch_size is None:
            batch_size = ramps.first_size(ramp)
    if batch_size is None:
        raise Mistake("batch_size is not given: give the examples of the first update")
    batch_size = whole("batch_size", batch_size, most=MOST_POSITION)
    if num_examples is not None and batch_size > num_examples:
        raise Mistake(
            f"batch_size {batch_size:,} is over the {num_examples:,} examples of an epoch: "
            f"give at most {num_examples:,}"
        )
    momentum = share("momentum", momentum)
    own = Values(momentum, b2, eps, weight_decay)
    rules, scaling = read_hold(hold, scaling, own)
    if not 0 <= scaling <= 1:
        raise Mistake(f"scaling is {scaling}: give 1 (linear), 0.5 (square root) or 0 (none)")
    not_negative("growth", growth)
    if growth > (1 / scaling if scaling else math.inf):
        raise Mistake(
            f"growth is {growth}, outside 0 to 1/scaling = {1 / scaling:g}: give at most "
            f"{1 / scaling:g}, or the rate would rise while the schedule decays"
        )
    base = batch_size
    if base_batch_size is not None:
        base = whole("base_batch_size", base_batch_size, most=MOST_POSITION)
    if adapt_regime and base_batch_size is None:
        raise Mistake(
            "adapt_regime needs base_batch_size: give the batch size that the schedule is tuned for"
        )
    measure = make_measure(unit, num_examples, sequence_length, base)
    if ramp is not None and in_examples:
        ramp = {measure.at(math.ceil(start)): size for start, size in ramp.items()}
    length = _length(measure, num_epochs, length)
    planned, stretch = length, Fraction(1)
    if adapt_regime:
        measure, stretch = _adapted(measure, batch_size, base)
    length = float(length * stretch)
    _check_length(length, measure, batch_size, stretch)
    end = measure.position(length)
    limit = num_examples or end  # of a batch; a stream is one epoch
    if batch_size > limit:
        raise Mistake(
            f"batch_size {batch_size:,} is over the {limit:,} examples of the run: give a longer "
            "run or a smaller batch"
        )
    ways = {
        "growth_factor": growth_factor,
        "batch_sizes": batch_sizes,
        "batch_multiple": batch_multiple,
        "ramp": ramp,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise Mistake(
            f"{' and '.join(given)} each set the batch sizes: give only one of "
            f"{', '.join(ways)}, and None for the others"
        )
    if growth_rule not in get_args(GrowthRule):
        raise Mistake(f"growth_rule is {shown(growth_rule)}: give paper or optimal")
    if growth_rule == "optimal":
        check_optimal(scaling, growth, ramp is not None, bool(given))
    if decided is not None and ramp is not None:
        raise Mistake("decided and ramp each set the batch sizes: give only one of them")
    if allow_shrink and ramp is None:
        raise Mistake("allow_shrink is for a ramp, and there is none: give ramp, or leave it out")
    if not given:
        if max_batch_size not in (None, batch_size):
            raise Mistake(
                f"max_batch_size is {max_batch_size:,}, but no argument makes the batch of "
                f"{batch_size:,} grow: give one of {', '.join(ways)}"
            )
        batch_sizes = (batch_size,)
    chosen = None
    if ramp is not None:
        if max_batch_size is not None or growth != 1:
            raise Mistake(
                "ramp sets every batch size: with it, leave max_batch_size at None and growth at 1"
            )
        size_at = ramps.by_hand(ramp, measure, batch_size, limit, allow_shrink)
        largest = max(ramp.values())
    else:
        sizes = allowed_sizes(
            limit=limit,
            of=ramps.whole_of(measure),
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            growth_factor=growth_factor,
            batch_sizes=batch_sizes,
            batch_multiple=batch_multiple,
        )
        size_at = _by_decay(sizes, growth)
        if growth_rule == "optimal":
            size_at = by_rates_to_come(sizes, planned)
        largest = int(sizes[-1]) if growth else batch_size
        if decided is not None:
            rules_of_growth = {"growth": growth != 1, "growth_rule": growth_rule != "paper"}
            chosen = read_decided(decided, sizes, rules_of_growth)
            size_at, largest = as_decided(chosen), batch_size

    read = schedules.reader(schedule, measure)
    positions, taken, rates = walk(read, size_at, measure, end, batch_size, stretch, allow_shrink)
    if chosen is not None:
        check_reached(chosen, taken)
    peak = float(rates.max())
    if peak == 0:
        raise Mistake("the schedule is 0 at every update and learns nothing: give a rate over 0")
    with np.errstate(over="ignore"):
        learning_rates = (rates * (taken / base) ** scaling).astype(np.float32)
    if not np.isfinite(learning_rates[-1]) or not np.isfinite(learning_rates.max()):
        raise Mistake(
            f"the learning rate overflows float32 (its peak is {peak:g} at batch {base:,}): give a "
            "smaller rate"
        )
    largest_of_all = int(taken.max()) if chosen is None else chosen.allowed[-1]
    check_largest(rules, own, largest_of_all, base)
    found = over_updates(read, positions, rates, measure, planned)
    warnings = plan_warnings(
        positions=positions,
        sizes=taken,
        rates=learning_rates,
        measure=measure,
        length=length,
        schedule_length=planned,
        momentum=follow(rules, own, taken / base, scaling).momentum,
        largest=largest,
        peak=peak,
        of_first=(batch_size / base) ** scaling,
        grown_by="schedule" if ramp is None and chosen is None else "ramp" if ramp else "run",
        over_updates=found,
    )
    return Plan(
        measure=measure,
        length=length,
        momentum=momentum,
        scaling=scaling,
        positions=positions,
        batch_sizes=taken,
        learning_rates=learning_rates,
        warnings=tuple(warnings),
        b2=b2,
        eps=eps,
        weight_decay=weight_decay,
        hold=rules,
        base_batch_size=base,
        decided=chosen,
    )


def _length(measure: Measure, num_epochs: float | None, length: float | None) -> float:
    """Return the length of the run in the unit, given in exactly one way."""
    if num_epochs is not None and length is not None:
        raise Mistake(
            f"num_epochs is {shown(num_epochs)} and length is {shown(length)}, and both set the "
            "length of the run: give only one"
        )
    if length is not None:
        positive("length", length, of=f"a number of {measure.unit}")
        return float(length)
    if num_epochs is None:
        raise Mistake(f"the run has no length: give length, in {measure.unit}, or num_epochs")
    positive("num_epochs", num_epochs, of="a length")
    if measure.num_examples is None:
        raise Mistake(
            f"num_epochs is {num_epochs:g}, but num_examples is not given, so an epoch has no "
            f"length: give num_examples, or length in {measure.unit}"
        )
    return measure.of_epochs(float(num_epochs))


def _adapted(measure: Measure, batch_size: int, base: int) -> tuple[Measure, Fraction]:
    """Return the measure and the stretch of lengths that keep the base batch's updates."""
    num_examples = measure.num_examples
    if num_examples is not None and base > num_examples:
        raise Mistake(
            f"base_batch_size {base:,} is over the {num_examples:,} examples of an epoch, so "
            "adapt_regime cannot count its updates: give a smaller one"
        )
    if measure.unit == "updates":
        return replace(measure, base=batch_size), Fraction(1)
    if num_examples is None:
        return measure, Fraction(batch_size, base)
    # In whole batches, because an epoch skips its remainder.
    return measure, Fraction(num_examples // base, num_examples // batch_size)


def _check_length(length: float, measure: Measure, batch_size: int, stretch: Fraction) -> None:
    """Check that a plan can hold all updates, before looking any up."""
    examples = length * float(measure.per)
    said = f"the run is {measure.amount(length)} long"
    if examples / batch_size > MOST_UPDATES:
        raise Mistake(
            f"{said}: {examples:,.6g} examples in batches of {batch_size:,} are "
            f"{examples / batch_size:.3g} updates, and a plan holds at most {MOST_UPDATES:,}. Give "
            "a shorter run, or a larger batch"
        )
    if examples * (measure.per * stretch).denominator > 2**62:
        raise Mistake(f"{said}, and its positions overflow 62 bits: give a shorter run")


def _by_decay(sizes: npt.NDArray[np.int64], growth: float) -> SizeAt:
    """Make the function (positions, values, decay s) → largest allowed size ≤ B0 · s^(−q)."""

    def size_at(
        _: npt.NDArray[np.int64], __: npt.NDArray[np.float64], decay: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        with np.errstate(divide="ignore", over="ignore"):  # s = 0 takes the largest size
            wanted: npt.NDArray[np.float64] = sizes[0] * decay**-growth * (1 + ROUNDING_OF_DECAY)
        return sizes[np.searchsorted(sizes, wanted, side="right") - 1]

    return size_at
