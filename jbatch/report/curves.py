"""Whether whole curves coincide, within the noise between seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jbatch.experiment import Comparison
from jbatch.report.records import Record


@dataclass(frozen=True)
class Curve:
    """How far a variant's curve lies from its baseline's, as a mean of differences by seed."""

    variant: str
    baseline: str
    quantity: str  # "training loss" or "test accuracy"
    unit: str
    epochs: int  # compared
    within: int  # of these, with a difference under the deviation between the baseline's seeds
    largest: float  # difference, in the unit
    at: float  # epoch of the largest


def compare_curves(records: Sequence[Record], comparison: Comparison | None) -> list[Curve]:
    """Training loss and test accuracy of the variants that a claim calls the same, epoch by epoch.

    Left out where fewer than two seeds of both are finished.
    """
    runs = {(run.variant, run.seed): run for run in records if run.finished}
    curves = []
    for claim in comparison.claims if comparison else ():
        for variant in claim.same:
            seeds = [s for name, s in runs if name == variant and (claim.baseline, s) in runs]
            both = (variant, claim.baseline)
            lengths = {run.plan.num_epochs for (name, _), run in runs.items() if name in both}
            if len(seeds) > 1 and len(lengths) == 1:  # epochs mean the same
                mine = [runs[variant, seed] for seed in seeds]
                base = [runs[claim.baseline, seed] for seed in seeds]
                curves += [_loss(mine, base), _accuracy(mine, base)]
    return curves


def _loss(mine: Sequence[Record], base: Sequence[Record]) -> Curve:
    ours, theirs, epochs = _lines([r.training for r in mine], [r.training for r in base], "loss")
    scale = 100 / theirs.mean(0)  # to percent of the baseline's mean
    return _curve(mine, base, "training loss", "%", ours * scale, theirs * scale, epochs)


def _accuracy(mine: Sequence[Record], base: Sequence[Record]) -> Curve:
    ours, theirs, epochs = _lines(
        [r.evaluations for r in mine], [r.evaluations for r in base], "accuracy"
    )
    return _curve(mine, base, "test accuracy", " points", 100 * ours, 100 * theirs, epochs)


def _lines(mine, base, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(seeds, points) of both, where all have a line in the same epoch, and these epochs."""
    # The ends of epochs: whole batches leave each a little short of its end, by its own batch size.
    by_epoch = [{round(line["epoch"]): line[name] for line in run} for run in (*mine, *base)]
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    values = np.array([[run[epoch] for epoch in epochs] for run in by_epoch])
    return values[: len(mine)], values[len(mine) :], np.array(epochs)


def _curve(mine, base, quantity, unit, ours, theirs, epochs) -> Curve:
    differences = (ours - theirs).mean(0)
    largest = int(np.abs(differences).argmax())
    return Curve(
        variant=mine[0].variant,
        baseline=base[0].variant,
        quantity=quantity,
        unit=unit,
        epochs=len(epochs),
        within=int((np.abs(differences) <= theirs.std(0, ddof=1)).sum()),
        largest=float(differences[largest]),
        at=float(epochs[largest]),
    )
