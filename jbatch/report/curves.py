"""Test whether whole curves coincide, over all epochs and epoch by epoch.

The tests are those of the final metric: differences paired by seed, and Student's t interval of
their mean. Two curves count as the same within a margin if the 95% interval is within it, which is
two one-sided tests at 2.5% each (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987).
That their difference is not significant, or that their bands overlap, would not show this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from jbatch.experiment.comparison import Comparison, Metric
from jbatch.report.runs import ALIKE, Floats, Record, interval_of, metric_in

LOSS_MARGIN = 5.0  # percent of the baseline's training loss within which two count as the same
ERROR = 0.05  # of the intervals


@dataclass(frozen=True)
class Curve:
    """Compare a variant's curve with its baseline's, by differences paired by seed.

    `mean` and its interval are of each seed's mean difference over the epochs: one test for the
    whole curve. An epoch is within the margin if the 95% interval of its mean difference is
    within. It is outside if the Bonferroni interval, which holds for all epochs together, is
    wholly outside: no epoch of many is then outside by chance. Otherwise it is undecided.
    """

    variant: str
    baseline: str
    quantity: str  # as "training loss" or "test accuracy"
    unit: str
    margin: float  # in the unit
    mean: float  # difference over all epochs, in the unit
    interval: tuple[float, float]  # 95%, of the mean
    epochs: int  # compared
    within: int  # of these
    outside: int
    largest: float  # mean difference, in the unit
    at: float  # epoch of the largest


def compare_curves(records: Sequence[Record], comparison: Comparison | None) -> list[Curve]:
    """Compare training loss and test metric of variants that a claim calls the same, by epoch.

    Pairs with fewer than two seeds finished in both are left out.
    """
    if comparison is None:
        return []
    runs = {(run.variant, run.seed): run for run in records if run.finished}
    curves, metric = [], metric_in(records, comparison)
    for claim in comparison.claims:
        for variant in claim.same:
            seeds = [s for name, s in runs if name == variant and (claim.baseline, s) in runs]
            both = (variant, claim.baseline)
            lengths = {run.plan.num_epochs for (name, _), run in runs.items() if name in both}
            if len(seeds) > 1 and len(lengths) == 1:  # else their epochs are not comparable
                mine = [runs[variant, seed] for seed in seeds]
                base = [runs[claim.baseline, seed] for seed in seeds]
                curves += [_loss(mine, base), _test(mine, base, metric, comparison.margin)]
    return curves


def _loss(mine: Sequence[Record], base: Sequence[Record]) -> Curve:
    ours, theirs, epochs = _lines([r.training for r in mine], [r.training for r in base], "loss")
    scale = 100 / np.abs(theirs.mean(0))  # to percent of the baseline's mean
    differences = (ours - theirs) * scale
    return _curve(mine, base, "training loss", "%", LOSS_MARGIN, differences, epochs)


def _test(mine: Sequence[Record], base: Sequence[Record], metric: Metric, margin: float) -> Curve:
    ours, theirs, epochs = _lines(
        [r.evaluations for r in mine], [r.evaluations for r in base], metric.name
    )
    differences = metric.scale * (ours - theirs)
    unit = metric.unit and f" {metric.unit}"
    return _curve(mine, base, metric.curve_label, unit, margin, differences, epochs)


def _lines(
    mine: Sequence[Sequence[Mapping[str, Any]]],
    base: Sequence[Sequence[Mapping[str, Any]]],
    name: str,
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Return both as (seeds, points), at epochs where every run has a line, and the epochs."""
    by_epoch = [_at_ends(run, name) for run in (*mine, *base)]
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    values = np.array([[run[epoch] for epoch in epochs] for run in by_epoch])
    return values[: len(mine)], values[len(mine) :], np.array(epochs)


def _at_ends(lines: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """Return epoch → the value of the line that is nearest to its end.

    A run logs a little before an epoch's end, since batches are whole. Before the first, paired
    runs have the same parameters, which says nothing of their schedules.
    """
    nearest = sorted(lines, key=lambda line: -abs(line["epoch"] - round(line["epoch"])))
    return {end: line[name] for line in nearest if (end := round(line["epoch"]))}


def _curve(
    mine: Sequence[Record],
    base: Sequence[Record],
    quantity: str,
    unit: str,
    margin: float,
    differences: Floats,
    epochs: npt.NDArray[np.int64],
) -> Curve:
    """Summarize differences of shape (seeds, epochs), in the unit."""
    within, outside = against_margin(differences, margin)
    mean = differences.mean(0)
    largest = int(np.abs(mean).argmax())
    return Curve(
        variant=mine[0].variant,
        baseline=base[0].variant,
        quantity=quantity,
        unit=unit,
        margin=margin,
        mean=float(mean.mean()),
        interval=interval_of(differences.mean(1)),
        epochs=len(epochs),
        within=int(within.sum()),
        outside=int(outside.sum()),
        largest=float(mean[largest]),
        at=float(epochs[largest]),
    )


def against_margin(
    differences: Floats, margin: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Find which points are within a margin of 0, and which outside.

    Args:
        differences: (seeds, points), at least two seeds.
        margin: over 0.

    Returns:
        Two bool arrays (within, outside) of shape (points,). Points False in both are undecided.
        So are those where there are two seeds with the same difference, as in `Finding.alike`.
    """
    seeds, points = differences.shape
    spread = (seeds > 2) | (np.ptp(differences, 0) >= ALIKE)
    mean, error = differences.mean(0), differences.std(0, ddof=1) / np.sqrt(seeds)
    each, all_at_once = stats.t.ppf([1 - ERROR / 2, 1 - ERROR / (2 * points)], seeds - 1)
    within = np.abs(mean) + each * error <= margin
    return within & spread, (np.abs(mean) - all_at_once * error > margin) & spread
