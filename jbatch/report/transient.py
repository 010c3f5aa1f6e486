"""Measure how long momentum's accumulator remembers the noise before a change of batch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jbatch.optim import SGD
from jbatch.plan.plan import Phase
from jbatch.report.drawing import deviation, drawn, in_legend, looking, styles
from jbatch.report.runs import Floats, Record
from jbatch.text import with_error

BEFORE = 200  # updates before the change; their mean is the old level
AFTER = 6  # the new level is reached after this many times 1/(1−m) updates


class Transient(NamedTuple):
    """Hold the lengths of a variant's updates around its first change of batch."""

    phase: Phase  # begins with the change
    momentum: float
    squares: Floats  # (seeds, updates) squared lengths, BEFORE of them before the change

    @property
    def settled(self) -> int:
        """Return after how many updates the new level is reached."""
        settled: int = (self.squares.shape[1] - BEFORE) // 2
        return settled

    @property
    def left(self) -> Floats:
        """Return the share left of the old level at each update after the change, (updates,)."""
        mean: Floats = self.squares.mean(0)
        before, after = self.levels(mean)
        return (mean[BEFORE : BEFORE + self.settled] - after) / (before - after)

    @property
    def error(self) -> Floats:
        """Return the standard error of `left` over seeds, (updates,); seeds share the levels."""
        before, after = self.levels(self.squares.mean(0))
        found: Floats = deviation(self.squares) / len(self.squares) ** 0.5 / (before - after)
        return found[BEFORE : BEFORE + self.settled]

    @property
    def memory(self) -> float:
        """Return the updates it takes to settle: the sum of `left`; Σ m^(2t) in theory."""
        return 1 + float(self.left[: self.settled // 2].sum())

    @property
    def memory_error(self) -> float | None:
        """Return the jackknife standard error of `memory` over seeds; None for one seed."""
        count = len(self.squares)
        if count == 1:
            return None
        without = [
            self._replace(squares=np.delete(self.squares, seed, 0)).memory for seed in range(count)
        ]
        return float(((count - 1) * np.var(without)) ** 0.5)

    def levels(self, mean: Floats) -> tuple[float, float]:
        """Return the levels (before, after) the change, from a mean over seeds."""
        return float(mean[:BEFORE].mean()), float(mean[BEFORE + self.settled :].mean())


def transient(runs: Sequence[Record]) -> Transient | None:
    """Measure the squared length of updates around the first change of batch, over seeds.

    If the learning rate is the same before and after, the noise in it moves from the old level to
    the new as m^(2t), t updates after the change: that share of the accumulator's variance still
    comes from earlier batches. Return None if some update's length was not logged, a phase is too
    short or the change is smaller than the noise.
    """
    plan, optimizer = runs[0].plan, runs[0].described.get("optimizer")
    if len(plan.phases) < 2 or not plan.momentum:
        return None
    if not isinstance(optimizer, Mapping):  # a function of the person's own
        return None
    if optimizer.get("class") != SGD.__name__ or optimizer.get("nesterov"):  # the theory is SGD's
        return None
    phase = plan.phases[1]
    settled = int(AFTER / (1 - plan.momentum))
    if phase.first_update < BEFORE or phase.updates < 2 * settled:
        return None
    window = slice(phase.first_update - BEFORE, phase.first_update + 2 * settled)
    if np.ptp(plan.learning_rates[window]) > 0:
        return None
    squares = []
    for run in runs:
        lengths = {line["update"]: line["moved"] for line in run.training if "moved" in line}
        first, last = phase.first_update - BEFORE, phase.first_update + 2 * settled
        if not all(update + 1 in lengths for update in range(first, last)):
            return None
        squares.append([lengths[update + 1] ** 2 for update in range(first, last)])
    found = Transient(phase, plan.momentum, np.array(squares))
    mean = found.squares.mean(0)
    before, after = found.levels(mean)
    independent = BEFORE * (1 - plan.momentum)  # number of independent updates
    seen = before - after >= 4 * mean[:BEFORE].std() / independent**0.5
    return found if seen else None


def transients(runs: Mapping[str, Sequence[Record]]) -> dict[str, Transient]:
    """Return variant → its transient, for the variants that have one."""
    found = {
        variant: transient([run for run in made if run.finished])
        for variant, made in runs.items()
        if any(run.finished for run in made)
    }
    return {variant: here for variant, here in found.items() if here is not None}


def transient_figure(found: Mapping[str, Transient]) -> tuple[str, Figure]:
    """Draw the share left of the old level against theory: (caption, figure)."""

    def draw(axes: Axes) -> None:
        for (variant, here), style in zip(found.items(), styles(), strict=False):
            updates = np.arange(len(here.left)) + 1
            units = updates * (1 - here.momentum)  # of 1/(1−m) updates
            shown = units <= AFTER / 2
            left, error = here.left[shown], here.error[shown]
            axes.plot(units[shown], left, ".", color=style["color"], markersize=4)
            axes.fill_between(
                units[shown], left - error, left + error, color=style["color"], alpha=0.15, lw=0
            )
            theory = here.momentum ** (2 * updates[shown])
            axes.plot(units[shown], theory, label=in_legend(variant), **style)
        axes.set(
            xlabel="since the change, in B/(N(1−m)) epochs",
            ylabel="share left of the old level of |Δω|²",
        )

    with looking():
        figure = drawn(draw)
    return (
        "Share left of the squared length of updates after the batch grew. Dots: means over seeds; "
        "bands: standard errors; lines: m^(2t) from theory, t updates after the change.",
        figure,
    )


def transient_text(variant: str, found: Transient) -> str:
    """Describe one variant's memory in a line."""
    settles = with_error(found.memory, found.memory_error, ".1f")
    return (
        f"{variant}: after the change to batch {found.phase.batch_size:,}, |Δω|² settles over "
        f"{settles} updates; theory 1/(1−m²) = {1 / (1 - found.momentum**2):.1f}"
    )
