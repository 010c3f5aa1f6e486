"""Walk a schedule from update to update: where each starts, how large it is, and its rate."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake
from jbatch.plan.measure import Measure

# Look-ups in a block. A schedule is compiled for these lengths only, because each new length costs
# a compilation. The short one is for plans that grow at every other look-up. The long one makes a
# million look-ups cheap.
SHORT, LONG = 512, 32_768

Values = npt.NDArray[np.float64]
Reader = Callable[[Values, float], Values]  # (values in the plan's unit, peak so far) → rates
Sizes = npt.NDArray[np.int64]
SizeAt = Callable[[Sizes, Values, Values], Sizes]  # (positions, values, decay s) → batch sizes


def walk(
    read: Reader,
    size_at: SizeAt,
    measure: Measure,
    end: int,
    batch_size: int,
    stretch: Fraction,
    shrinks: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Compute position, batch size and schedule value of every update from 0 to `end`.

    The recurrence, one look-up at a time: v = schedule(x in the plan's unit), peak = max(peak, v),
    s = v/peak (1 while the peak is 0), b = max(B, size for s), or the size itself if the batch may
    shrink; if x mod N + b > N, skip to the next epoch's start and look up again; else the update
    takes [x, x+b) and B = b. A stream is one epoch, as long as the run. For speed, this function
    looks up a whole block as if the batch stayed the same, and keeps it up to the first look-up
    that changes it.

    Args:
        read: (values in the unit, peak) → rates of the schedule.
        size_at: (positions, values in the unit, decay s) → wanted batch sizes.
        measure: the plan's unit.
        end: the position where the run ends.
        batch_size: B0.
        stretch: the schedule's unit is so many of the measure's.
        shrinks: whether the batch may shrink.

    Returns:
        (positions, batch sizes, schedule values) of the updates: int64, int64 and float64, each of
        shape (updates,).

    Raises:
        Mistake: if the run ends before its first update, or the schedule fails.
    """
    num_examples = measure.num_examples or end
    # One division of whole numbers, so that boundaries stay exact.
    per = measure.per * stretch
    position, size, peak = 0, batch_size, 0.0
    block = SHORT
    # (positions, sizes, values) of each block
    updates: list[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]] = []
    while position < end:
        lookups = _lookups(position, size, num_examples, block)
        lookups = lookups[lookups < end]
        times = measure.examples(lookups) * per.denominator / per.numerator
        values = read(times, peak)
        peaks = np.maximum(peak, np.maximum.accumulate(values))
        decay = np.divide(values, peaks, out=np.ones_like(values), where=peaks > 0)
        wanted = size_at(lookups, times, decay)
        changes = np.flatnonzero(wanted != size if shrinks else wanted > size)
        stop = int(changes[0]) if len(changes) else len(lookups)
        fits = lookups[:stop] % num_examples + size <= num_examples
        taken = lookups[:stop][fits]
        updates.append((taken, np.full(len(taken), size), values[:stop][fits]))
        if len(changes):
            position, wanted_size, peak = int(lookups[stop]), int(wanted[stop]), peaks[stop]
            if position % num_examples + wanted_size > num_examples:
                position = (position // num_examples + 1) * num_examples
            else:
                size = wanted_size
                updates.append(([position], [size], [values[stop]]))
                position += size
            block = SHORT
        else:
            last, peak = int(lookups[-1]), peaks[-1]
            position = last + size if fits[-1] else (last // num_examples + 1) * num_examples
            block = LONG
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
