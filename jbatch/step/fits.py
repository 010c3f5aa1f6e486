"""Find the largest micro-batch that fits in device memory."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import jax

from jbatch.errors import Mistake
from jbatch.plan.layout import Layout, group_size
from jbatch.plan.passes import Accumulate, Pass, Passes, cut, fewest_per_device
from jbatch.text import byte_size
from jbatch.upstream_words import OUT_OF_MEMORY

LEAST_PROBED = 16  # examples per device; with fewer, memory is less affine
BELIEVED = 2.0  # a prediction that leaves so many times its memory needs no check

# Bytes that a device needs for a pass. Infinity if the compiler refuses it, as TPU's does.
Needs = Callable[[Pass], float]


def largest(
    batch_sizes: Collection[int],
    devices: int,
    ghost_batch: int | None,
    available: int,
    needs: Needs,
    probe: Needs | None = None,
) -> int | None:
    """Return the largest micro-batch that fits in memory.

    Memory is nearly affine in the micro-batch, so two small passes predict the largest one. If a
    device's whole share needs less than half of the memory by this prediction, it is believed: a
    large pass can take a minute to compile. Otherwise the predicted pass is compiled, then
    smaller ones until one fits.

    Args:
        batch_sizes: B of each phase, over all devices.
        devices: D.
        ghost_batch: g; None without batch norm.
        available: memory of one device in bytes.
        needs: compiles a pass and returns the bytes it needs.
        probe: a cheaper `needs` for the two small passes.

    Returns:
        Examples per device and pass, as a limit for `cut`; None if a device's whole share fits.

    Raises:
        Mistake: if not even the smallest pass fits.
    """
    share = max(batch_sizes) // devices
    unit = max(fewest_per_device(size, devices, ghost_batch) for size in batch_sizes)
    group = group_size(max(batch_sizes), ghost_batch)
    whole = math.lcm(unit, group)  # so that a probe on one device stands for many
    small = whole * -(-LEAST_PROBED // whole)
    limit = share
    if share > 2 * small:
        first, second = (
            (probe or needs)(Accumulate(Layout(examples * devices, devices, group)))
            for examples in (small, 2 * small)
        )
        each = max((second - first) / small, 1.0) if math.isfinite(second) else math.inf
        if BELIEVED * (first + each * (share - small)) <= available:
            return None
        predicted = small + (available - first) / each if math.isfinite(second) else unit
        limit = min(share, max(int(predicted), unit))
    while True:
        passes = cut(batch_sizes, devices, ghost_batch, limit)
        examples, needed = _most_needed(passes, needs)
        if needed <= available:
            if limit == share:
                return None
            # Where passes are composed, the largest pass as a limit could give other, smaller ones.
            same = cut(batch_sizes, devices, ghost_batch, examples) == passes
            return examples if same else limit
        smaller = range(unit, examples, unit)
        if not smaller:
            raise Mistake(
                f"the smallest micro-batch, {examples:,} examples per device, needs "
                f"{byte_size(needed)}, but a device has {byte_size(available)}: give a smaller "
                "model, image or ghost_batch, or more memory"
            )
        limit = smaller[-1]


def check_fits(
    micro_batch: int | None, passes: dict[int, Passes], available: int, needs: Needs
) -> None:
    """Raise Mistake, with the numbers, if the largest pass does not fit."""
    examples, needed = _most_needed(passes, needs)
    if needed > available:
        raise Mistake(
            f"micro_batch is {micro_batch:,}: {examples:,} examples per device need "
            f"{byte_size(needed)}, but a device has {byte_size(available)}. Give a smaller one, or "
            "none to let jbatch choose the largest that fits"
        )


def _most_needed(passes: dict[int, Passes], needs: Needs) -> tuple[int, float]:
    """Return (examples per device, bytes) of the largest pass; of two kinds, the larger bytes."""
    calls = [call for of_batch in passes.values() for call in of_batch.calls]
    examples = max(call.layout.per_device for call in calls)
    largest = {call for call in calls if call.layout.per_device == examples}
    return examples, max(map(needs, largest))


@contextmanager
def unlimited_if_refused() -> Iterator[float]:
    """Yield infinity, and suppress the compiler's error that a program does not fit."""
    try:
        yield math.inf
    except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise
