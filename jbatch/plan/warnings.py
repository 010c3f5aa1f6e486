"""What a person should know of a plan before it is trained."""

from collections.abc import Iterator

import numpy as np

from jbatch.plan.batch_sizes import ROUNDING_OF_DECAY as ROUNDING


def plan_warnings(
    *,
    positions: np.ndarray,
    sizes: np.ndarray,
    rates: np.ndarray,
    num_examples: int,
    num_epochs: float,
    schedule_epochs: float,
    momentum: float,
    largest: int,
    peak: float,
    of_first: float,
    by_hand: bool,
) -> Iterator[str]:
    """Sentences without a full stop, in the order of what matters.

    Args:
        positions: of each update, (updates,) int64.
        sizes: B of each, (updates,) int64.
        rates: ε of each, (updates,) float32.
        num_examples: N.
        num_epochs: of the run.
        schedule_epochs: of the schedule: the run's, but for a stretched one.
        momentum: m.
        largest: batch size that is allowed.
        peak: the schedule's highest rate, for its own batch.
        of_first: times as high it is for the first batch.
        by_hand: whether the sizes are a ramp.
    """
    yield from _warn_of_no_growth(sizes, largest, schedule_epochs)
    yield from _warn_of_size(positions, sizes, num_examples)
    yield from _warn_of_transient(positions, sizes, num_examples, momentum)
    yield from _warn_of_peak(positions, rates, peak, of_first, num_examples, by_hand)
    yield from _warn_of_zero(positions, rates, num_examples, num_epochs)


def _warn_of_no_growth(sizes, largest, num_epochs):
    if sizes[-1] == sizes[0] < largest:
        yield (
            f"the batch never grows, though {largest:,} is allowed: schedules and ramps are read "
            f"over epochs, here 0 to {num_epochs:g}, and not over updates"
        )


def _warn_of_size(positions, sizes, num_examples):
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


def _warn_of_transient(positions, sizes, num_examples, momentum):
    transient = sizes / (num_examples * (1 - momentum))
    long = transient > 1 + ROUNDING
    if momentum and long.any():
        first = int(np.argmax(long))
        yield (
            f"from epoch {positions[first] / num_examples:g} momentum {momentum:g} takes "
            f"B/(N(1−m)) = {transient[first]:.2g} epochs to follow a change (up to "
            f"{transient[-1]:.2g}): expect a lag, or use a smaller momentum or batch"
        )


def _warn_of_peak(positions, learning_rates, peak, of_first, num_examples, by_hand):
    """Of a rate over the highest that the schedule has, for its own batch and for the first."""
    highest = peak * max(1.0, of_first)
    if learning_rates.max() <= highest * (1 + ROUNDING):
        return
    worst = int(np.argmax(learning_rates))
    whose = "the schedule's own peak" if of_first <= 1 else "the highest that the first batch has"
    why = (
        "the ramp grows the batch more than the schedule has decayed, and the rate follows it; a "
        "later ramp or scaling=0 keeps it lower"
        if by_hand
        else "the schedule rises again after the batch has grown; a smaller max_batch_size "
        "bounds it"
    )
    yield (
        f"at epoch {positions[worst] / num_examples:g} the rate is {learning_rates[worst]:g}, "
        f"{learning_rates[worst] / highest:.3g} times {whose}: {why}"
    )


def _warn_of_zero(positions, learning_rates, num_examples, num_epochs):
    """Of updates that learn nothing; the first one of a warm-up is none to speak of."""
    still = np.flatnonzero(learning_rates[1:] == 0) + 1
    if len(still):
        first, last = positions[still[0]] / num_examples, still[-1] + 1
        end = num_epochs if last == len(positions) else positions[last] / num_examples
        yield (
            f"{len(still):,} of {len(positions):,} updates, between epochs {first:g} and {end:g}, "
            "are at rate 0 and learn nothing: give a schedule as long as the run, or a shorter run"
        )
