"""From a learning-rate schedule to a plan that grows the batch and keeps the noise scale.

docs/theory.md derives the rule and says where it breaks down.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from jbatch.errors import Mistake, not_negative, positive, real, share, shown, whole
from jbatch.plan import schedule as schedules
from jbatch.plan.batch_sizes import ROUNDING_OF_DECAY, allowed_sizes
from jbatch.plan.plan import Plan, last_position
from jbatch.plan.warnings import plan_warnings

MOST_UPDATES = 10_000_000  # of a plan, which holds each of them
MOST_POSITION = 2**53  # up to which float64 tells positions apart


def couple(
    schedule: Callable,
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

    With s(e) = schedule(e) / (its running peak), how much the noise has decayed by epoch e:

        B(e) = largest allowed size ≤ B0 · s(e)^(−q)
        ε(e) = schedule(e) · (B(e)/B0)^p

    A schedule that is written for batches of `base_batch_size` has that in place of B0 in ε(e).
    Looked up at each update's first example; the batch never shrinks, and an epoch ends with its
    last whole batch. With p = 1 and q = 1 this is the "increasing batch size" of Smith et al.
    (arXiv 1711.00489), with `max_batch_size` at B0 the "decaying learning rate", in between the
    "hybrid". p = 1/2 is the square-root rule for Adam-like optimizers (arXiv 2205.10287), with
    q = 1 Seesaw (arXiv 2510.14717). ε/B^p is held exactly; the noise scale, for p = 1, but for
    the factor 1 − B/N.

    One of `growth_factor`, `batch_sizes`, `batch_multiple` and `ramp` gives the sizes; without any,
    the batch stays at `batch_size`.

    Args:
        schedule: an optax schedule, read as learning rate over epochs (not over updates).
        num_examples: N, examples in the training set.
        num_epochs: length of the run in epochs; a fraction ends within an epoch.
        batch_size: B0, examples of the first update over all devices.
        max_batch_size: the largest size, itself allowed; None for the largest grid size ≤ N.
        growth_factor: sizes are B0 times the powers of this.
        batch_sizes: the sizes, ascending from B0.
        batch_multiple: sizes are the multiples of this from B0 on.
        ramp: epoch → size by hand, from epoch 0 on; the rate follows by the same ε(e).
        momentum: m, of the optimizer (β1 for Adam), in [0, 1).
        scaling: p, the scaling rule, in [0, 1]; 0 leaves the rate as the schedule has it.
        growth: q, how much of the decay becomes growth, in [0, 1/p]; 0 decays the rate only.
        base_batch_size: that the schedule is written for; None for B0.
        adapt_regime: keep the base's number of updates and not of epochs: num_epochs and every
            boundary of the schedule or the ramp count B0/base_batch_size times, by the whole
            batches of an epoch (Hoffer et al., arXiv 1705.08741, section 4.2).

    Returns:
        The plan of every update.

    Raises:
        Mistake: for sizes that are impossible, and rates that are negative, not finite or all 0.

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
            f"growth is {growth}, outside 0 to 1/scaling = {1 / scaling:g}: beyond it the rate "
            "would rise while the schedule decays"
        )
    base = batch_size
    if base_batch_size is not None:
        base = whole("base_batch_size", base_batch_size, most=MOST_POSITION)
    if adapt_regime and base_batch_size is None:
        raise Mistake(
            "adapt_regime needs base_batch_size, that the schedule is written for: give it"
        )
    stretch = Fraction(1)
    if adapt_regime:  # by whole batches, since an epoch's remainder is left out
        if base > num_examples:
            raise Mistake(
                f"base_batch_size {base:,} is over the {num_examples:,} examples of an epoch: "
                "adapt_regime counts its updates; give a smaller one"
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
            f"{' and '.join(given)} given to choose the batch sizes: give one of "
            f"{', '.join(ways)}, and None for the others"
        )
    if not given:
        if max_batch_size not in (None, batch_size):
            raise Mistake(
                f"max_batch_size is {max_batch_size:,}, and nothing says how the batch of "
                f"{batch_size:,} grows: give one of {', '.join(ways)}"
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
        raise Mistake("the schedule is 0 at every update: nothing would be learned; give it a rate")
    with np.errstate(over="ignore"):
        learning_rates = (rates * (taken / base) ** scaling).astype(np.float32)
    if not np.isfinite(learning_rates[-1]) or not np.isfinite(learning_rates.max()):
        raise Mistake(
            f"the rate goes over what float32 holds ({peak:g} at the batch of {base:,}): give a "
            "smaller one"
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
    """See that a plan can hold so many updates, before any is looked up."""
    updates = num_epochs * num_examples / batch_size
    if updates > MOST_UPDATES:
        raise Mistake(
            f"num_epochs is {num_epochs:g}: {num_examples:,} examples in batches of {batch_size:,} "
            f"are {updates:.3g} updates, and a plan holds at most {MOST_UPDATES:,}: give fewer "
            "epochs, or a larger batch"
        )
    if num_epochs * num_examples * stretch.denominator > 2**62:
        raise Mistake(
            f"num_epochs is {num_epochs:g}: of {num_examples:,} examples each, that is more than "
            "can be counted; give fewer"
        )


def _by_decay(sizes: np.ndarray, growth: float) -> Callable:
    """(epochs, decay s) → largest allowed size ≤ B0 · s^(−q)."""

    def size_at(_, decay: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", over="ignore"):  # s = 0 takes the largest size
            wanted = sizes[0] * decay**-growth * (1 + ROUNDING_OF_DECAY)
        return sizes[np.searchsorted(sizes, wanted, side="right") - 1]

    return size_at


def _by_hand(
    ramp: Mapping[float, int],
    num_examples: int,
    batch_size: int,
    max_batch_size: int | None,
    growth: float,
) -> Callable:
    """(epochs, decay s) → the ramp's size."""
    if not isinstance(ramp, Mapping):
        raise Mistake(
            f"ramp is {shown(ramp)}: give a dict of epoch → batch size, as {{0: 128, 60: 640}}"
        )
    for start in ramp:
        not_negative("an epoch of ramp", start)
    ramp = {float(start): size for start, size in ramp.items()}
    starts = sorted(ramp)
    if not starts or starts[0] != 0:
        raise Mistake(f"ramp {shown(ramp)} does not start at epoch 0: say the first batch size")
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
        raise Mistake(f"ramp {shown(ramp)} does not ascend: a batch only grows")
    if max_batch_size is not None or growth != 1:
        raise Mistake(
            "ramp says every size itself: leave max_batch_size at None and growth at 1 with it"
        )

    def size_at(epochs: np.ndarray, _) -> np.ndarray:
        return sizes[np.searchsorted(starts, epochs, side="right") - 1]

    return size_at


def _walk(
    schedule: Callable,
    size_at: Callable,
    num_examples: int,
    end: int,
    batch_size: int,
    stretch: Fraction,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, batch sizes and schedule values of every update from 0 to `end`.

    The recurrence, one look-up at a time: v = schedule(x/N), peak = max(peak, v), s = v/peak (1
    while the peak is 0), b = max(B, size for s); if x mod N + b > N, skip to the next epoch's start
    and look up again; else the update takes [x, x+b) and B = b. Here whole blocks of look-ups are
    made as if the batch stayed, and kept up to the first that grows it.
    """
    read = schedules.reader(schedule)
    position, size, peak = 0, batch_size, 0.0
    block = schedules.SHORT
    updates = []  # (positions, sizes, values) of each block
    while position < end:
        lookups = _lookups(position, size, num_examples, block)
        lookups = lookups[lookups < end]
        # Of the schedule. In whole numbers as far as possible, for a boundary to stay one.
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
            f"no whole batch fits before position {end:,}: give a longer run or a smaller batch"
        )
    positions, sizes, values = columns
    return positions.astype(np.int64), sizes.astype(np.int64), values.astype(np.float64)


def _lookups(position: int, size: int, num_examples: int, count: int) -> np.ndarray:
    """The next `count` positions looked up if the batch stays: each epoch's remainder included."""
    index = np.arange(count)
    epoch, place = divmod(position, num_examples)
    left = -(-(num_examples - place) // size)  # look-ups left in this epoch
    each = -(-num_examples // size)  # look-ups in a whole epoch
    later, nth = np.divmod(index - left, each)
    return np.where(
        index < left, position + index * size, (epoch + 1 + later) * num_examples + nth * size
    )
