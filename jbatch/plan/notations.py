"""Batch-size ramps as other trainers write them. Each function returns {start: batch size}.

Starts are in examples, or in tokens if `sequence_length` is given, for `ramp=` of a plan that
counts the same. Sizes are in examples, over all devices.
"""

import math
import operator
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np

from jbatch.errors import Mistake, real, shown, whole, wholes

Ramp = dict[float, int]

SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_STEP = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?):(\d+)", re.IGNORECASE)
_INCREMENTS = re.compile(r"(?:--rampup-batch-size[ =])?\[?(\d+)[, ]+(\d+)[, ]+(\d+)\]?")


def steps(text: str) -> Ramp:
    """Read Megatron-LM's --step-batch-size-schedule, "THRESHOLD:SIZE THRESHOLD:SIZE …".

    Thresholds take K, M, B or T for 10³ to 10¹², and rise (megatron/core/
    num_microbatches_calculator.py). They stay in the text's own unit, such as tokens.

    Raises:
        Mistake: if the text does not read so.

    >>> steps("0:768 250B:1536")
    {0.0: 768, 250000000000.0: 1536}
    """
    ramp: Ramp = {}
    for part in text.replace(",", " ").split():
        if (found := _STEP.fullmatch(part)) is None:
            raise Mistake(
                f'ramp has {shown(part)}: write THRESHOLD:SIZE, as in "0:768 250B:1536", or START '
                'INCREMENT SAMPLES, as in "32 32 65536"'
            )
        number, suffix, size = found.groups()
        start = float(Fraction(number) * SUFFIXES[suffix.upper()])
        if ramp and start <= max(ramp):
            raise Mistake(
                f"ramp {shown(text)} has {part} after a threshold of {max(ramp):,.15g}: thresholds "
                "must rise; sort them"
            )
        ramp[start] = int(size)
    return ramp


def increments(text: str) -> tuple[int, int, int] | None:
    """Read Megatron-LM's --rampup-batch-size or NeMo's rampup_batch_size from text.

    Returns:
        (start, increment, samples) of "32 32 65536", "[32, 32, 65536]" or "--rampup-batch-size 32
        32 65536"; None for another notation.
    """
    found = _INCREMENTS.fullmatch(" ".join(text.split()))
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def megatron_ramp(
    start: int, increment: int, samples: int, end: int, sequence_length: int = 1
) -> Ramp:
    """Return the ramp of Megatron-LM's --rampup-batch-size and NeMo's rampup_batch_size.

    The batch grows from `start` to `end` by `increment`, in equal shares of `samples` examples
    (megatron/core/num_microbatches_calculator.py).

    Args:
        start: first batch size.
        increment: examples by which it grows; divides end − start.
        samples: examples until the batch is `end`.
        end: the global batch size.
        sequence_length: tokens of an example, for starts in tokens; 1 for starts in examples.

    Raises:
        Mistake: if the increments do not end at `end`.

    Examples:
        >>> jbatch.megatron_ramp(32, 32, 65536, 128)
        {0.0: 32, 21845.333333333332: 64, 43690.666666666664: 96, 65536.0: 128}
    """
    sizes = _increasing(start, increment, end)
    samples = whole("samples of the ramp", samples)
    share = Fraction(samples * whole("sequence_length", sequence_length), max(1, len(sizes) - 1))
    return {float(index * share): size for index, size in enumerate(sizes)}


def maxtext_ramp(
    start: int, increment: int, samples: int, end: int, devices: int, sequence_length: int = 1
) -> Ramp:
    """Return the ramp of MaxText's enable_rampup_batch_size.

    Each size takes the whole updates that reach its share of `samples` (MaxText,
    utils/rampup_batch.py), so that the ramp is a little longer than Megatron's.

    Args:
        start: per_device_batch_size_start.
        increment: per_device_batch_size_increment.
        samples: global_rampup_samples, over all devices.
        end: per_device_batch_size.
        devices: their number; sizes of the ramp are over all of them.
        sequence_length: tokens of an example, for starts in tokens; 1 for starts in examples.

    Raises:
        Mistake: if the increments do not end at `end`.

    Examples:
        >>> jbatch.maxtext_ramp(4, 2, 500, 8, devices=8)
        {0: 32, 256: 48, 544: 64}
    """
    devices = whole("devices of the ramp", devices)
    sizes = [size * devices for size in _increasing(start, increment, end)]
    share = Fraction(whole("samples of the ramp", samples), max(1, len(sizes) - 1))
    starts = [0]
    for size in sizes[:-1]:
        starts.append(starts[-1] + math.ceil(share / size) * size)
    return _ramp(starts, sizes, sequence_length)


def olmo_core_ramp(
    batch_sizes: Sequence[int],
    schedule: Sequence[float],
    sequence_length: int,
    unit: Literal["tokens", "steps"] = "tokens",
) -> Ramp:
    """Return the ramp of OLMo-core's BatchSizeSchedulerCallback, with starts in tokens.

    OLMo-core also waits up to a few updates, until the batches so far make whole larger ones
    (train/callbacks/batch_size_scheduler.py); jbatch need not. It changes the rate by the square
    root of the batch: give `scaling=0.5`.

    Args:
        batch_sizes: sizes in tokens.
        schedule: the durations at which they begin, from 0.
        sequence_length: tokens of an example; divides all sizes.
        unit: of the durations. Steps are updates of the run itself.

    Raises:
        Mistake: if sizes and durations do not belong together.

    Examples:
        >>> jbatch.olmo_core_ramp([4194304, 8388608], [0, 168e9], sequence_length=4096)
        {0.0: 1024, 168000000000.0: 2048}
    """
    sequence_length = whole("sequence_length", sequence_length)
    tokens = wholes("batch_sizes of the ramp", batch_sizes)
    starts = [real("schedule of the ramp", start) for start in schedule]
    if len(tokens) != len(starts):
        raise Mistake(
            f"the ramp has {len(tokens):,} batch_sizes and a schedule of {len(starts):,}: give one "
            "start for each size"
        )
    if odd := [size for size in tokens if size % sequence_length]:
        raise Mistake(
            f"the ramp's batch of {odd[0]:,} tokens is not made of whole examples of "
            f"{sequence_length:,} tokens: give batch_sizes in tokens"
        )
    sizes = [size // sequence_length for size in tokens]
    if unit == "steps":
        return _of_updates(wholes("schedule of the ramp", schedule, 0), sizes, sequence_length)
    if unit != "tokens":
        raise Mistake(f"unit of the ramp is {shown(unit)}: give tokens or steps")
    return _ramp(starts, sizes, 1)


def deepspeed_ramp(
    final_batch_size: int,
    min_batch_size_multiplier: float = 0.01,
    warmup_num_steps: int = 1000,
    num_intervals: int = 4,
    sequence_length: int = 1,
) -> Ramp:
    """Return the ramp of DeepSpeed's BatchSizeScheduler (deepspeed/runtime/bs_schedules.py).

    Args:
        final_batch_size: the last size, over all devices.
        min_batch_size_multiplier: the first size as a share of the last.
        warmup_num_steps: updates until the last size.
        num_intervals: number of sizes, at least 2.
        sequence_length: tokens of an example, for starts in tokens; 1 for starts in examples.

    Raises:
        Mistake: if a value is impossible.

    Examples:
        >>> jbatch.deepspeed_ramp(512, 0.25, warmup_num_steps=300)
        {0: 128, 12800: 256, 38400: 384, 76800: 512}
    """
    last = whole("final_batch_size", final_batch_size)
    count = whole("num_intervals", num_intervals, least=2)
    share = real("min_batch_size_multiplier", min_batch_size_multiplier)
    if not 0 < share <= 1:
        raise Mistake(f"min_batch_size_multiplier is {share}: give a share over 0, at most 1")
    first = math.ceil(share * last)
    steps_until = whole("warmup_num_steps", warmup_num_steps)
    starts = np.linspace(0, steps_until, count).astype(int).tolist()
    sizes = np.linspace(first, last, count).astype(int).tolist()
    # A size that rounds to the one before it begins no phase.
    kept = [index for index in range(count) if index == 0 or sizes[index] != sizes[index - 1]]
    return _of_updates([starts[i] for i in kept], [sizes[i] for i in kept], sequence_length)


def _increasing(start: int, increment: int, end: int) -> list[int]:
    """List the sizes from `start` to `end`."""
    start = whole("start of the ramp", start)
    increment = whole("increment of the ramp", increment)
    end = whole("end of the ramp", end)
    if end < start or (end - start) % increment:
        raise Mistake(
            f"the ramp from {start:,} by {increment:,} does not end at {end:,}: the increment must "
            "divide what the batch grows by"
        )
    return list(range(start, end + 1, increment))


def _of_updates(updates: Sequence[int], sizes: Sequence[int], sequence_length: int) -> Ramp:
    """Convert starts in updates of the run to examples: the sizes before them, added up."""
    taken = [later - one for one, later in pairwise(updates)]
    before = accumulate(map(operator.mul, taken, sizes), initial=updates[0] if updates else 0)
    return _ramp(list(before), sizes, sequence_length)


def _ramp(starts: Sequence[float], sizes: Sequence[int], sequence_length: int) -> Ramp:
    for one, later in pairwise(starts):
        if later <= one:
            raise Mistake(
                f"the ramp has a start at {later:,.15g} after {one:,.15g}: starts must rise; sort "
                "them, or give fewer sizes"
            )
    tokens = whole("sequence_length", sequence_length)
    return {start * tokens: size for start, size in zip(starts, sizes, strict=True)}
