"""Coupling: turn a learning-rate schedule into a plan that grows the batch.

docs/theory.md derives the rule and says where it breaks down.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, not_negative, positive, real, share, shown, whole
from jbatch.plan import schedule as schedules
from jbatch.plan.batch_sizes import ROUNDING_OF_DECAY, allowed_sizes
from jbatch.plan.plan import Plan, last_position
from jbatch.plan.warnings import plan_warnings

MOST_UPDATES = 10_000_000  # a plan holds every update in memory
MOST_POSITION = 2**53  # float64 represents every whole number up to here

# (epochs, decay s) → batch sizes
SizeAt = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.int64]]


def couple(
    schedule: schedules.Schedule,
    *,
    num_examples: int,
    num_epochs: float,
    batch_size: int,
    max_batch_size: int | None = None,
    growth_factor: float | None = None,
    batch_sizes: Sequence[int] | None = None,
    batch_multiple: int | None = None,
    ramp: Mapping[float, int] | None = None,
    momentum: float = 0.0,
    scaling: float = 1.0,
    growth: float = 1.0,
    base_batch_size: int | None = None,
    adapt_regime: bool = False,
) -> Plan:
    """Turn a learning-rate schedule into a plan that grows the batch where the rate would decay.

    With s(e) = schedule(e) / (its running peak), the decay by epoch e:

        B(e) = largest allowed size ≤ B0 · s(e)^(−q)
        ε(e) = schedule(e) · (B(e)/B0)^p

    Both are looked up at each update's first example. The batch never shrinks, and an epoch ends
    with its last whole batch. If the schedule was tuned for another batch size, give that as
    `base_batch_size`: it replaces B0 in ε(e).

    With p = 1 and q = 1 this is the "increasing batch size" of Smith et al. (arXiv 1711.00489).
    `max_batch_size` equal to B0 gives their "decaying learning rate", a value in between their
    "hybrid". p = 1/2 is the square-root rule for Adam-like optimizers (arXiv 2205.10287); with
    q = 1 it is Seesaw (arXiv 2510.14717). ε/B^p follows the schedule exactly. For p = 1 it is the
    noise scale, up to the factor 1 − B/N.

    Give at most one of `growth_factor`, `batch_sizes`, `batch_multiple` and `ramp`. With none, the
    batch stays at `batch_size`.

    Args:
        schedule: an optax schedule that gives the learning rate over epochs (not over updates).
        num_examples: N, examples in the training set.
        num_epochs: length of the run in epochs; with a fraction the run ends within an epoch.
        batch_size: B0, examples of the first update, over all devices.
        max_batch_size: the largest size, always allowed; None for the largest grid size ≤ N.
        growth_factor: allow B0 times the powers of this number.
        batch_sizes: allow these sizes, ascending from B0.
        batch_multiple: allow the multiples of this number, from B0 on.
        ramp: epoch → size, set by hand from epoch 0 on; the rate follows as in ε(e).
        momentum: m of the optimizer (β1 for Adam), in [0, 1).
        scaling: p, the scaling rule, in [0, 1]; 0 keeps the schedule's rate.
        growth: q, how much of the decay becomes batch growth, in [0, 1/p]; 0 for none.
        base_batch_size: the batch size that the schedule was tuned for; None for B0.
        adapt_regime: keep the number of updates that `base_batch_size` would take, instead of the
            number of epochs. This multiplies num_epochs and the epochs of the schedule and ramp by
            B0/base_batch_size, in whole batches of an epoch (Hoffer et al., arXiv 1705.08741,
            section 4.2).

    Returns:
        The plan, one row for each update.

    Raises:
        Mistake: if sizes are impossible, or rates are negative, not finite or all 0.

    >>> import optax
    >>> schedule = optax.piecewise_constant_schedule(0.1, {60: 0.2, 120: 0.2, 160: 0.2})
    >>> plan = couple(schedule, num_examples=50_000, num_epochs=200, batch_size=128,
    ...               max_batch_size=5120, growth_factor=5, momentum=0.9)
    >>> plan.num_updates, [phase.batch_size for phase in plan.phases]
    (29040, [128, 640, 3200, 5120])
    """
    num_examples = whole("num_examples", num_examples, most=MOST_POSITION)
    batch_size = whole("batch_size", batch_size, most=MOST_POSITION)
    if max_batch_size is not None:
        max_batch_size = whole("max_batch_size", max_batch_size, most=MOST_POSITION)
    positive("num_epochs", num_epochs, of="a length")
    num_epochs = float(num_epochs)
    if batch_size > num_examples:
        raise Mistake(
            f"batch_size {batch_size:,} is over the {num_examples:,} examples of an epoch: "
            f"give at most {num_examples:,}"
        )
    momentum, scaling = share("momentum", momentum), real("scaling", scaling)
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
    stretch = Fraction(1)
    if adapt_regime:  # in whole batches, because an epoch skips its remainder
        if base > num_examples:
            raise Mistake(
                f"base_batch_size {base:,} is over the {num_examples:,} examples of an epoch, so "
                "adapt_regime cannot count its updates: give a smaller one"
            )
        stretch = Fraction(num_examples // base, num_examples // batch_size)
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
    if not given:
        if max_batch_size not in (None, batch_size):
            raise Mistake(
                f"max_batch_size is {max_batch_size:,}, but no argument makes the batch of "
                f"{batch_size:,} grow: give one of {', '.join(ways)}"
            )
        batch_sizes = (batch_size,)
    if ramp is not None:
        size_at = _by_hand(ramp, num_examples, batch_size, max_batch_size, growth)
        largest = max(ramp.values())
    else:
        sizes = allowed_sizes(
            num_examples=num_examples,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            growth_factor=growth_factor,
            batch_sizes=batch_sizes,
            batch_multiple=batch_multiple,
        )
        size_at = _by_decay(sizes, growth)
        largest = int(sizes[-1]) if growth else batch_size

    schedule_epochs, num_epochs = num_epochs, float(num_epochs * stretch)
    _check_length(num_epochs, num_examples, batch_size, stretch)
    positions, taken, rates = _walk(
        schedule,
        size_at,
        num_examples,
        last_position(num_epochs, num_examples),
        batch_size,
        stretch,
    )
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
    warnings = plan_warnings(
        positions=positions,
        sizes=taken,
        rates=learning_rates,
        num_examples=num_examples,
        num_epochs=num_epochs,
        schedule_epochs=schedule_epochs,
        momentum=momentum,
        largest=largest,
        peak=peak,
        of_first=(batch_size / base) ** scaling,
        by_hand=ramp is not None,
    )
    return Plan(
        num_examples=num_examples,
        num_epochs=num_epochs,
        momentum=momentum,
        scaling=scaling,
        positions=positions,
        batch_sizes=taken,
        learning_rates=learning_rates,
        warnings=tuple(warnings),
    )


def _check_length(num_epochs: float, num_examples: int, batch_size: int, stretch: Fraction) -> None:
    """Check that a plan can hold all updates, before looking any up."""
    updates = num_epochs * num_examples / batch_size
    if updates > MOST_UPDATES:
        raise Mistake(
            f"num_epochs is {num_epochs:g}: {num_examples:,} examples in batches of {batch_size:,} "
            f"are {updates:.3g} updates, and a plan holds at most {MOST_UPDATES:,}. Give fewer "
            "epochs, or a larger batch"
        )
    if num_epochs * num_examples * stretch.denominator > 2**62:
        raise Mistake(
            f"num_epochs is {num_epochs:g}: with {num_examples:,} examples each, their positions "
            "overflow 62 bits; give fewer epochs"
        )


def _by_decay(sizes: npt.NDArray[np.int64], growth: float) -> SizeAt:
    """Make the function (epochs, decay s) → largest allowed size ≤ B0 · s^(−q)."""

    def size_at(
        _: npt.NDArray[np.float64], decay: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        with np.errstate(divide="ignore", over="ignore"):  # s = 0 takes the largest size
            wanted: npt.NDArray[np.float64] = sizes[0] * decay**-growth * (1 + ROUNDING_OF_DECAY)
        return sizes[np.searchsorted(sizes, wanted, side="right") - 1]

    return size_at


def _by_hand(
    ramp: Mapping[float, int],
    num_examples: int,
    batch_size: int,
    max_batch_size: int | None,
    growth: float,
) -> SizeAt:
    """Make the function (epochs, decay s) → the ramp's size."""
    if not isinstance(ramp, Mapping):
        raise Mistake(
            f"ramp is {shown(ramp)}: give a dict of epoch → batch size, such as {{0: 128, 60: 640}}"
        )
    for start in ramp:
        not_negative("an epoch of ramp", start)
    ramp = {float(start): size for start, size in ramp.items()}
    starts = sorted(ramp)
    if not starts or starts[0] != 0:
        raise Mistake(f"ramp {shown(ramp)} does not start at epoch 0: add the first batch size")
    listed = [whole(f"ramp at epoch {start:g}", ramp[start]) for start in starts]
    if max(listed) > num_examples:
        raise Mistake(
            f"ramp goes to {max(listed):,}, over the {num_examples:,} examples of an epoch: "
            f"end it at {num_examples:,} or below"
        )
    sizes = np.array(listed, np.int64)
    if sizes[0] != batch_size:
        raise Mistake(
            f"ramp starts with {sizes[0]:,} and batch_size is {batch_size:,}: make the two agree"
        )
    if np.any(np.diff(sizes) <= 0):
        raise Mistake(f"ramp {shown(ramp)} does not ascend: give sizes that grow with the epoch")
    if max_batch_size is not None or growth != 1:
        raise Mistake(
            "ramp sets every batch size: with it, leave max_batch_size at None and growth at 1"
        )

    def size_at(
        epochs: npt.NDArray[np.float64], _: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        return sizes[np.searchsorted(starts, epochs, side="right") - 1]

    return size_at


def _walk(
    schedule: schedules.Schedule,
    size_at: SizeAt,
    num_examples: int,
    end: int,
    batch_size: int,
    stretch: Fraction,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Compute position, batch size and schedule value of every update from 0 to `end`.

    The recurrence, one look-up at a time: v = schedule(x/N), peak = max(peak, v), s = v/peak (1
    while the peak is 0), b = max(B, size for s); if x mod N + b > N, skip to the next epoch's start
    and look up again; else the update takes [x, x+b) and B = b. For speed, this function looks up a
    whole block as if the batch stayed the same, and keeps it up to the first look-up that grows it.
    """
    read = schedules.reader(schedule)
    position, size, peak = 0, batch_size, 0.0
    block = schedules.SHORT
    # (positions, sizes, values) of each block
    updates: list[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]] = []
    while position < end:
        lookups = _lookups(position, size, num_examples, block)
        lookups = lookups[lookups < end]
        # The schedule's epochs. One division of whole numbers, so that boundaries stay exact.
        epochs = lookups * stretch.denominator / (num_examples * stretch.numerator)
        values = read(epochs, peak)
        peaks = np.maximum(peak, np.maximum.accumulate(values))
        decay = np.divide(values, peaks, out=np.ones_like(values), where=peaks > 0)
        wanted = np.maximum(size, size_at(epochs, decay))
        grows = np.flatnonzero(wanted > size)
        stop = int(grows[0]) if len(grows) else len(lookups)
        fits = lookups[:stop] % num_examples + size <= num_examples
        taken = lookups[:stop][fits]
        updates.append((taken, np.full(len(taken), size), values[:stop][fits]))
        if len(grows):
            position, wanted_size, peak = int(lookups[stop]), int(wanted[stop]), peaks[stop]
            if position % num_examples + wanted_size > num_examples:
                position = (position // num_examples + 1) * num_examples
            else:
                size = wanted_size
                updates.append(([position], [size], [values[stop]]))
                position += size
            block = schedules.SHORT
        else:
            last, peak = int(lookups[-1]), peaks[-1]
            position = last + size if fits[-1] else (last // num_examples + 1) * num_examples
            block = schedules.LONG
    columns = [np.concatenate(column) for column in zip(*updates, strict=True)]
    if not columns or len(columns[0]) == 0:
        raise Mistake(
            f"the run ends at position {end:,}, before one whole batch: give a longer run or a "
            "smaller batch"
        )
    positions, sizes, values = columns
    return positions.astype(np.int64), sizes.astype(np.int64), values.astype(np.float64)


def _lookups(position: int, size: int, num_examples: int, count: int) -> npt.NDArray[np.int64]:
    """Return the next `count` positions to look up if the batch stays the same.

    They include the remainder at the end of each epoch.
    """
    index = np.arange(count)
    epoch, place = divmod(position, num_examples)
    left = -(-(num_examples - place) // size)  # look-ups left in this epoch
    each = -(-num_examples // size)  # look-ups in a whole epoch
    later, nth = np.divmod(index - left, each)
    return np.where(
        index < left, position + index * size, (epoch + 1 + later) * num_examples + nth * size
    )
