"""The critical batch: the largest that loses no more than a tolerance at equal data.

After Merrill et al. (arXiv 2505.23971), who train branches of a run in larger batches.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jbatch.plan.branch import Window
from jbatch.plan.measure import Measure


class Branch(NamedTuple):
    """What one branch of a run found."""

    multiple: int
    batch_size: int
    updates: int
    learning_rate: float  # of its first update
    losses: tuple[float, ...]  # mean training loss of each part of the window
    weights: tuple[float, ...]  # of these means
    noise_scale: float | None  # the gradient's, trΣ/|G|²; None if it could not be measured

    @property
    def loss(self) -> float:
        """The mean training loss over the last half of the window; infinite if it diverged."""
        last = slice(len(self.losses) // 2, None)
        loss = float(np.average(self.losses[last], weights=self.weights[last]))
        return loss if math.isfinite(loss) else math.inf


class Place(NamedTuple):
    """All branches from one checkpoint, the smallest batch first, which keeps the run's."""

    asked: float  # share of the run
    window: Window
    branches: tuple[Branch, ...]


def critical(branches: Sequence[Branch], tolerance: float) -> Branch:
    """Return the largest branch whose loss is within `tolerance` of that of every smaller one.

    Args:
        branches: of one place, the smallest batch first.
        tolerance: in units of the loss.
    """
    found, least = branches[0], math.inf
    for branch in branches:
        if branch.loss <= least + tolerance:
            found = branch
        least = min(least, branch.loss)
    return found


def uncertainty(place: Place, branch: Branch) -> float | None:
    """Return the standard error of a branch's loss, less that of the branch that keeps the batch.

    It is over the parts of the window's last half, in which both see the same examples. Parts are
    not independent of each other, so that it is a little too small. None if there is one part, or
    the branch diverged.
    """
    last = slice(len(branch.losses) // 2, None)
    apart = np.subtract(branch.losses[last], place.branches[0].losses[last])
    if len(apart) < 2 or not np.isfinite(apart).all():
        return None
    return float(apart.std(ddof=1) / math.sqrt(len(apart)))


def make_ramp(first: int, places: Sequence[Place], tolerance: float) -> dict[int, int]:
    """Return the batch that grows to each place's critical batch there: position → size.

    It grows wherever the critical batch is larger. Merrill et al. double it where the critical
    batch is over twice as large.

    Args:
        first: the plan's first batch size, kept until the first place.
        places: in any order.
        tolerance: in units of the loss.
    """
    ramp, size = {0: first}, first
    for place in sorted(places, key=lambda place: place.window.position):
        batch = critical(place.branches, tolerance).batch_size
        if batch > size:
            ramp[place.window.position] = size = batch
    return ramp


def ramp_text(ramp: dict[int, int], measure: Measure, stretch: float) -> str:
    """Write a ramp as `ramp=` reads it, with starts in the unit of a plan.

    Args:
        ramp: position → batch size.
        measure: the plan's unit.
        stretch: what the plan's length is multiplied by, as with `adapt_regime`.

    >>> ramp_text({0: 128, 75_000: 512}, Measure("epochs", 60_000, None, 128), 1)
    '0:128 1.25:512'
    """
    return " ".join(
        f"{_plain(measure.at(position) / stretch)}:{size}" for position, size in ramp.items()
    )


def _plain(value: float) -> str:
    """Write a number of at least six digits without an exponent, which a ramp cannot have."""
    return f"{value:.0f}" if value >= 1e5 else f"{value:.5f}".rstrip("0").rstrip(".")
