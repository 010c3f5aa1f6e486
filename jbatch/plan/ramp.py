"""Ramps: batch sizes set by hand, as a dict or in a notation of other trainers."""

import numbers
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, not_negative, shown, whole
from jbatch.plan import notations
from jbatch.plan.measure import Measure
from jbatch.plan.walk import SizeAt


def read_ramp(
    ramp: Mapping[float, int] | str, max_batch_size: int | None
) -> tuple[Mapping[float, int], bool]:
    """Read a ramp.

    Args:
        ramp: {start: batch size}, or text: "0:768 250B:1536" (`notations.steps`), or START
            INCREMENT SAMPLES (`notations.megatron_ramp`), which ends at `max_batch_size`.
        max_batch_size: the largest size.

    Returns:
        ({start: batch size}, whether starts are in examples, whatever the plan counts).

    Raises:
        Mistake: if it is none of these.
    """
    if isinstance(ramp, str):
        if (read := notations.increments(ramp)) is None:
            return notations.steps(ramp), False
        if max_batch_size is None:
            raise Mistake(
                f"ramp is {shown(ramp)}, a start, an increment and a number of examples: give the "
                "size that it ends at as max_batch_size"
            )
        return notations.megatron_ramp(*read, max_batch_size), True
    if not isinstance(ramp, Mapping):
        raise Mistake(
            f"ramp is {shown(ramp)}: give a dict of epoch → batch size, such as {{0: 128, 60: "
            '640}, or text such as "0:768 250B:1536"'
        )
    return ramp, False


def first_size(ramp: Mapping[float, int]) -> int | None:
    """Return the size of a ramp's first start; None if it has none."""
    starts = [start for start in ramp if isinstance(start, numbers.Real)]
    return ramp[min(starts)] if starts else None


def by_hand(
    ramp: Mapping[float, int], measure: Measure, batch_size: int, limit: int, allow_shrink: bool
) -> SizeAt:
    """Make the function (positions, values in the unit, decay s) → the ramp's size.

    Args:
        ramp: start in the unit → batch size.
        measure: the plan's unit.
        batch_size: B0.
        limit: the largest possible size: N, or the length of a stream.
        allow_shrink: whether sizes may fall.

    Raises:
        Mistake: if a start or a size is impossible.
    """
    one = measure.unit[:-1]
    for start in ramp:
        not_negative(f"an {one} of ramp" if one[0] in "eu" else f"a {one} of ramp", start)
    ramp = {float(start): size for start, size in ramp.items()}
    starts = sorted(ramp)
    if not starts or starts[0] != 0:
        raise Mistake(f"ramp {shown(ramp)} does not start at {one} 0: add the first batch size")
    listed = [whole(f"ramp at {one} {start:.15g}", ramp[start]) for start in starts]
    if max(listed) > limit:
        raise Mistake(
            f"ramp goes to {max(listed):,}, over the {limit:,} examples of "
            f"{whole_of(measure)}: end it at {limit:,} or below"
        )
    sizes = np.array(listed, np.int64)
    if sizes[0] != batch_size:
        raise Mistake(
            f"ramp starts with {sizes[0]:,} and batch_size is {batch_size:,}: make the two agree"
        )
    if np.any(np.diff(sizes) == 0):
        raise Mistake(f"ramp {shown(ramp)} has a size twice in a row: give it once")
    if not allow_shrink and np.any(np.diff(sizes) < 0):
        raise Mistake(
            f"ramp {shown(ramp)} does not ascend: give sizes that grow, or allow_shrink=True"
        )

    def size_at(
        _: npt.NDArray[np.int64], values: npt.NDArray[np.float64], __: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        return sizes[np.searchsorted(starts, values, side="right") - 1]

    return size_at


def whole_of(measure: Measure) -> str:
    """Name what the largest batch must fit in."""
    return "the run" if measure.num_examples is None else "an epoch"
