"""Warnings about a plan, made before it is trained."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from jbatch.plan.batch_sizes import ROUNDING_OF_DECAY as ROUNDING


def plan_warnings(
    *,
    positions: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    rates: npt.NDArray[np.float32],
    num_examples: int,
    num_epochs: float,
    schedule_epochs: float,
    momentum: float,
    largest: int,
    peak: float,
    of_first: float,
    by_hand: bool,
) -> Iterator[str]:
    """Yield warnings about a plan, the most important first, without a final full stop.

    Args:
        positions: of every update, (updates,) int64.
        sizes: B of every update, (updates,) int64.
        rates: ε of every update, (updates,) float32.
        num_examples: N.
        num_epochs: length of the run.
        schedule_epochs: length of the schedule; differs from the run's with `adapt_regime`.
        momentum: m.
        largest: the largest batch size allowed.
        peak: the schedule's highest rate, at its base batch size.
        of_first: the peak is multiplied by this at the first batch size.
        by_hand: whether a ramp sets the sizes.
    """
    yield from _warn_of_no_growth(sizes, largest, schedule_epochs)
    yield from _warn_of_size(positions, sizes, num_examples)
    yield from _warn_of_transient(positions, sizes, num_examples, momentum)
    yield from _warn_of_peak(positions, rates, peak, of_first, num_examples, by_hand)
    yield from _warn_of_zero(positions, rates, num_examples, num_epochs)


def _warn_of_no_growth(
    sizes: npt.NDArray[np.int64], largest: int, num_epochs: float
) -> Iterator[str]:
    if sizes[-1] == sizes[0] < largest:
        yield (
            f"the batch never grows, though {largest:,} is allowed. Schedules and ramps are read "
            f"over epochs (here 0 to {num_epochs:g}), not over updates: check that yours changes "
            "within them"
        )


def _warn_of_size(
    positions: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], num_examples: int
) -> Iterator[str]:
    over = sizes > num_examples / 10
    if over.any():
        first = int(np.argmax(over))
        epoch, largest = positions[first] / num_examples, int(sizes[-1])
        yield (
            f"from epoch {epoch:g} the batch is over N/10 = {num_examples // 10:,} examples: at "
            f"{largest:,} the noise scale falls short of the schedule's by B/N = "
            f"{largest / num_examples:.0%}"
            + (f"; max_batch_size={num_examples // 10} stays within" if not over[0] else "")
        )


def _warn_of_transient(
    positions: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    num_examples: int,
    momentum: float,
) -> Iterator[str]:
    transient = sizes / (num_examples * (1 - momentum))
    long = transient > 1 + ROUNDING
    if momentum and long.any():
        first = int(np.argmax(long))
        yield (
            f"from epoch {positions[first] / num_examples:g} momentum {momentum:g} takes "
            f"B/(N(1−m)) = {transient[first]:.2g} epochs to follow a change (up to "
            f"{transient[-1]:.2g}): expect a lag, or use a smaller momentum or batch"
        )


def _warn_of_peak(
    positions: npt.NDArray[np.int64],
    learning_rates: npt.NDArray[np.float32],
    peak: float,
    of_first: float,
    num_examples: int,
    by_hand: bool,
) -> Iterator[str]:
    """Warn if the rate exceeds the schedule's peak, at both the base and the first batch size."""
    highest = peak * max(1.0, of_first)
    if learning_rates.max() <= highest * (1 + ROUNDING):
        return
    worst = int(np.argmax(learning_rates))
    whose = "the schedule's own peak" if of_first <= 1 else "the peak at the first batch size"
    why = (
        "the ramp grows the batch more than the schedule has decayed, and the rate follows the "
        "batch. A later ramp or scaling=0 keeps the rate lower"
        if by_hand
        else "the schedule rises again after the batch has grown. A smaller max_batch_size limits "
        "the rate"
    )
    yield (
        f"at epoch {positions[worst] / num_examples:g} the rate is {learning_rates[worst]:g}, "
        f"{learning_rates[worst] / highest:.3g} times {whose}: {why}"
    )


def _warn_of_zero(
    positions: npt.NDArray[np.int64],
    learning_rates: npt.NDArray[np.float32],
    num_examples: int,
    num_epochs: float,
) -> Iterator[str]:
    """Warn of updates at rate 0, except the first one, where a warm-up may start at 0."""
    still = np.flatnonzero(learning_rates[1:] == 0) + 1
    if len(still):
        first, last = positions[still[0]] / num_examples, still[-1] + 1
        end = num_epochs if last == len(positions) else positions[last] / num_examples
        yield (
            f"{len(still):,} of {len(positions):,} updates, between epochs {first:g} and {end:g}, "
            "are at rate 0 and learn nothing: give a schedule as long as the run, or a shorter run"
        )
