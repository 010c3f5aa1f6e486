"""Warnings about a plan, made before it is trained."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jbatch.plan.batch_sizes import ROUNDING_OF_DECAY as ROUNDING
from jbatch.plan.measure import Measure

GrownBy = Literal["schedule", "ramp", "run"]
REST = 0.01  # of a stream that may be left out at its end


def plan_warnings(
    *,
    positions: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    rates: npt.NDArray[np.float32],
    measure: Measure,
    length: float,
    schedule_length: float,
    momentum: Any,
    largest: int,
    peak: float,
    of_first: float,
    grown_by: GrownBy,
    over_updates: str | None,
) -> Iterator[str]:
    """Yield warnings about a plan, the most important first, without a final full stop.

    Args:
        positions: of every update, (updates,) int64.
        sizes: B of every update, (updates,) int64.
        rates: ε of every update, (updates,) float32.
        measure: the plan's unit. Without N, warnings about N and epochs are silent.
        length: of the run, in the unit.
        schedule_length: length of the schedule; differs from the run's with `adapt_regime`.
        momentum: m, or that of every update, (updates,) float64.
        largest: the largest batch size allowed.
        peak: the schedule's highest rate, at its base batch size.
        of_first: the peak is multiplied by this at the first batch size.
        grown_by: what sets the sizes: the schedule's decay, a ramp, or decisions of the run.
        over_updates: why the schedule seems to count updates, not epochs.
    """
    if over_updates is None:
        yield from _warn_of_no_growth(sizes, largest, measure, schedule_length)
    else:
        yield over_updates
    if measure.num_examples is not None:
        yield from _warn_of_size(positions, sizes, measure, measure.num_examples)
        yield from _warn_of_transient(positions, sizes, measure, measure.num_examples, momentum)
    else:
        yield from _warn_of_rest(positions, sizes, measure, length)
    yield from _warn_of_peak(positions, rates, peak, of_first, measure, grown_by)
    yield from _warn_of_zero(positions, rates, measure, length)


def _warn_of_no_growth(
    sizes: npt.NDArray[np.int64], largest: int, measure: Measure, length: float
) -> Iterator[str]:
    if sizes.max() == sizes[0] < largest:
        other = "updates" if measure.unit == "epochs" else "epochs"
        not_over = "" if measure.num_examples is None else f", not over {other}"
        yield (
            f"the batch never grows, though {largest:,} is allowed. Schedules and ramps are read "
            f"over {measure.unit} (here 0 to {measure.number(length)}){not_over}: check that yours "
            "changes within them"
        )


def _warn_of_size(
    positions: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    measure: Measure,
    num_examples: int,
) -> Iterator[str]:
    over = sizes > num_examples / 10
    if over.any():
        first = int(np.argmax(over))
        largest = int(sizes.max())
        yield (
            f"{measure.since(int(positions[first]))} the batch is over N/10 = "
            f"{num_examples // 10:,} examples: at {largest:,} the noise scale falls "
            f"short of the schedule's by B/N = {largest / num_examples:.0%}"
            + (f"; max_batch_size={num_examples // 10} stays within" if not over[0] else "")
        )


def _warn_of_rest(
    positions: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], measure: Measure, length: float
) -> Iterator[str]:
    """Warn if much of a stream is left out at its end, because it fills no batch."""
    end, taken = measure.position(length), int(positions[-1] + sizes[-1])
    if end - taken > REST * end:
        yield (
            f"the run ends at {measure.place(taken)}, because the last {1 - taken / end:.1%} of "
            "its examples do not fill the next batch: give a smaller max_batch_size, or a longer "
            "run"
        )


def _warn_of_transient(
    positions: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    measure: Measure,
    num_examples: int,
    momentum: Any,
) -> Iterator[str]:
    momentum = np.broadcast_to(momentum, sizes.shape)
    transient = sizes / (num_examples * (1 - momentum))
    long = transient > 1 + ROUNDING
    if momentum.any() and long.any():
        first = int(np.argmax(long))
        yield (
            f"{measure.since(int(positions[first]))} momentum {momentum[first]:g} takes "
            f"B/(N(1−m)) = {transient[first]:.2g} epochs to follow a change (up to "
            f"{transient.max():.2g}): expect a lag, or use a smaller momentum or batch"
        )


def _warn_of_peak(
    positions: npt.NDArray[np.int64],
    learning_rates: npt.NDArray[np.float32],
    peak: float,
    of_first: float,
    measure: Measure,
    grown_by: GrownBy,
) -> Iterator[str]:
    """Warn if the rate exceeds the schedule's peak, at both the base and the first batch size."""
    highest = peak * max(1.0, of_first)
    if learning_rates.max() <= highest * (1 + ROUNDING):
        return
    worst = int(np.argmax(learning_rates))
    whose = "the schedule's own peak" if of_first <= 1 else "the peak at the first batch size"
    why = {
        "ramp": "the ramp grows the batch more than the schedule has decayed, and the rate follows "
        "the batch. A later ramp or scaling=0 keeps the rate lower",
        "run": "the batch has grown more than the schedule has decayed, and the rate follows the "
        "batch. A smaller max_batch_size or scaling=0 keeps the rate lower",
        "schedule": "the schedule rises again after the batch has grown. A smaller max_batch_size "
        "limits the rate",
    }[grown_by]
    yield (
        f"at {measure.place(int(positions[worst]))} the rate is {learning_rates[worst]:g}, "
        f"{learning_rates[worst] / highest:.3g} times {whose}: {why}"
    )


def _warn_of_zero(
    positions: npt.NDArray[np.int64],
    learning_rates: npt.NDArray[np.float32],
    measure: Measure,
    length: float,
) -> Iterator[str]:
    """Warn of updates at rate 0, except the first one, where a warm-up may start at 0.

    A cosine to 0 is within float32's rounding of it for the last 0.02% of a run.
    """
    still = np.flatnonzero(learning_rates[1:] == 0) + 1
    if len(still) > len(learning_rates) / 1000:
        first, last = measure.at(int(positions[still[0]])), still[-1] + 1
        end = length if last == len(positions) else measure.at(int(positions[last]))
        yield (
            f"{len(still):,} of {len(positions):,} updates, between "
            f"{measure.between(first, end)}, are at rate 0 and learn nothing: give a schedule as "
            "long as the run, or a shorter run"
        )
