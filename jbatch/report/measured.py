"""Draw what runs have measured: losses, scores, distances and gradient noise."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from jbatch.experiment.comparison import Metric
from jbatch.report.drawing import band_text, in_legend, over_seeds, styles
from jbatch.report.runs import Floats, Record
from jbatch.task.base import SIMPLE

LONGER = 20  # the axis is logarithmic if a run is over this many times the shortest
ALWAYS = ("distance", "gradient_noise_scale")  # also drawn for more variants than there are styles

Lines = Sequence[Mapping[str, Any]]  # of metrics
Runs = Mapping[str, Sequence[Record]]  # variant → its runs
Drawings = dict[str, tuple[str, Callable[[Axes], None]]]  # name → (caption, what draws it)


class Along(NamedTuple):
    """Define what curves are drawn against."""

    name: str  # of files
    label: str  # of the axis
    of: Callable[[Record, Lines], Floats]  # the place of each line


EPOCHS = Along("epochs", "epoch", lambda _, lines: _column(lines, "epoch"))
UPDATES = Along("updates", "parameter updates", lambda _, lines: _column(lines, "update"))
SECONDS = Along(
    "seconds",
    "seconds of training",
    lambda run, lines: run.seconds_at([line["update"] for line in lines]),
)


def cost(price: float) -> Along:
    """Return what draws against cost, for the price of a device for an hour."""
    label = f"cost, at {price:g} per device and hour"
    return Along("cost", label, lambda run, lines: run.device_hours(lines) * price)


def measured(runs: Runs, metric: Metric, price: float | None) -> Drawings:
    """Return the drawings of what runs have measured.

    Args:
        runs: variant → its runs, each with a line of training.
        metric: of evaluations.
        price: of a device for an hour; None draws nothing against cost.
    """
    band = band_text(runs)
    band += band and ", thin lines are single seeds"
    several = len(runs) > 1 or any(len(found) > 1 for found in runs.values())
    means = band and ", means over seeds"
    same = f"The same {'curves' if several else 'curve'} against"
    further = {
        UPDATES: "parameter updates.",
        SECONDS: "seconds of training, without compilation, evaluation and saving.",
    }
    if price is not None:
        further[cost(price)] = "cost: all time since the start, on the devices of the first start."
    drawings: Drawings = {}
    for what, label, of in (
        ("training_loss", "training loss", None),
        (f"{metric.over_run}_{metric.name}", metric.curve_label, metric),
    ):
        captions = {EPOCHS: f"{label.capitalize()} against epochs{band}."}
        captions |= {along: f"{same} {text}" for along, text in further.items()}
        for along, caption in captions.items():
            drawings[f"{what}_{along.name}"] = caption, _curves(runs, of, along)
    lines = [line for found in runs.values() for run in found for line in run.training]
    evaluations = [line for found in runs.values() for run in found for line in run.evaluations]
    if evaluations and all("loss" in line for line in evaluations):
        drawings["losses"] = (
            f"Loss in training (thin) and on the {metric.over_run} set (thick){means}.",
            lambda axes: _losses(axes, runs),
        )
    if all("distance" in line for line in lines):
        drawings["distance"] = (
            f"Distance of the parameters from their initial values{band}.",
            lambda axes: _distances(axes, runs),
        )
    if any(SIMPLE in line for line in lines):
        drawings["gradient_noise_scale"] = (
            "Measured gradient noise scale trΣ/|G|² against epochs, mean over seeds; dots: batch "
            "size. Below its noise scale, a batch is mostly noise.",
            lambda axes: _gradient_noise(axes, runs),
        )
    return drawings


def _column(lines: Lines, name: str) -> Floats:
    return np.array([line[name] for line in lines], float)


def _curves(runs: Runs, metric: Metric | None, along: Along) -> Callable[[Axes], None]:
    return lambda axes: _measured(axes, runs, metric, along)


def _measured(axes: Axes, runs: Runs, metric: Metric | None, along: Along) -> None:
    """Draw a test metric's mean over seeds, a band of its deviation and, behind it, each seed.

    Without a metric, training loss.
    """
    ends = [along.of(found[0], found[0].training[-1:])[0] for found in runs.values()]
    # Else short runs look vertical. Times differ so much only by chance.
    logarithmic = along in (EPOCHS, UPDATES) and max(ends) > LONGER * min(ends)
    if logarithmic:
        axes.set_xscale("log")
    if metric is None and all(
        line["loss"] > 0 for found in runs.values() for run in found for line in run.training
    ):
        axes.set_yscale("log")
    for (variant, found), style in zip(runs.items(), styles(), strict=False):
        seeds = []
        for run in found:
            lines = run.training if metric is None else run.evaluations
            x = along.of(run, lines)
            y = [metric.of(line) if metric else line["loss"] for line in lines]
            seeds.append(np.array([x, y])[:, (x > 0) | (not logarithmic)])  # (2, points)
        over_seeds(axes, seeds, label=in_legend(variant), **style)
    if metric is None:
        axes.set(xlabel=along.label, ylabel="training loss")
        return
    unit = metric.of_values and f" ({metric.of_values})"
    axes.set(xlabel=along.label, ylabel=f"{metric.curve_label}{unit}")
    # Without the first epochs: their values would squeeze the differences.
    first = [[metric.of(line) for line in found[0].evaluations] for found in runs.values()]
    worst, at = (min, 0.1) if metric.better == "higher" else (max, 0.9)
    edge = worst((np.quantile(values, at) for values in first if values), default=0)
    low, high = axes.get_ylim()
    if metric.is_share:
        axes.set_ylim(max(0, edge - 0.05 * metric.scale), min(1.005 * metric.scale, high))
    elif metric.better == "higher":
        axes.set_ylim(bottom=max(low, edge - 0.1 * (high - edge)))
    else:
        axes.set_ylim(top=min(high, edge + 0.1 * (edge - low)))


def _losses(axes: Axes, runs: Runs) -> None:
    """Draw the mean over seeds of training loss (thin) and of the evaluations' loss (thick)."""
    least = min(
        line["loss"]
        for found in runs.values()
        for run in found
        for line in (*run.training, *run.evaluations)
    )
    axes.set_yscale("log" if least > 0 else "linear")
    for (variant, found), style in zip(runs.items(), styles(), strict=False):
        for lines, name, width in (
            ([run.training for run in found], f"{variant}, training", 0.8),
            ([run.evaluations for run in found], variant, 2.0),
        ):
            shared = min(map(len, lines))  # unfinished runs have fewer
            x = [line["epoch"] for line in lines[0][:shared]]
            y = [[line["loss"] for line in run[:shared]] for run in lines]
            label = in_legend(name)
            axes.plot(x, np.mean(y, 0), **style | {"linewidth": width, "label": label})
    axes.set(xlabel=EPOCHS.label, ylabel="loss")


def _distances(axes: Axes, runs: Runs) -> None:
    """Draw ‖ω − ω₀‖ against the logarithm of updates, with a band of its standard deviation."""
    for (variant, found), style in zip(runs.items(), styles(), strict=False):
        seeds = [
            np.array([_column(run.training, "update"), _column(run.training, "distance")])
            for run in found
        ]
        over_seeds(axes, seeds, label=in_legend(variant), **style)
    axes.set(xlabel=UPDATES.label, ylabel="distance from the start", xscale="log")


def _gradient_noise(axes: Axes, runs: Runs) -> None:
    """Draw the measured gradient noise scale, where it is known, and the batch size."""
    for (variant, found), style in zip(runs.items(), styles(), strict=False):
        known: dict[float, list[float]] = {}
        for line in (line for run in found for line in run.training if line.get(SIMPLE, 0) > 0):
            known.setdefault(line["epoch"], []).append(line[SIMPLE])
        epochs = sorted(known)
        axes.plot(epochs, [np.mean(known[e]) for e in epochs], label=in_legend(variant), **style)
        lines = found[0].training
        sizes = [line.get("batch_size", 1) for line in lines]
        axes.plot([line["epoch"] for line in lines], sizes, ".", color=style["color"], markersize=3)
    axes.set(xlabel=EPOCHS.label, ylabel="examples", yscale="log")
