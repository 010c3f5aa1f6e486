"""Draw the figures of a report, the same quantities as in the paper's figures."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jbatch.experiment.comparison import Comparison, Metric
from jbatch.plan.noise import noise_scale
from jbatch.plan.plan import Plan
from jbatch.report.drawing import (
    STYLES,
    band_text,
    banded,
    deviation,
    drawn,
    in_legend,
    looking,
    styles,
)
from jbatch.report.runs import Record, by_variant, metric_in
from jbatch.report.scaling import against, points
from jbatch.report.transient import transient_figure, transients
from jbatch.task.base import SIMPLE
from jbatch.text import rounded

MOST_POINTS = 2000  # of a line; a reader cannot see more
LONGER = 20  # the axis is logarithmic if a run is over this many times the shortest

Runs = Mapping[str, Sequence[Record]]  # variant → its runs
Quantity = Callable[[Plan], npt.NDArray[np.floating]]  # of every update: (num_updates,)


class Group(NamedTuple):
    """Hold variants that share figures."""

    title: str  # empty if there is only one group
    figures: dict[str, tuple[str, Figure]]  # name → (caption, figure)


def figures(records: Sequence[Record], comparison: Comparison | None) -> list[Group]:
    """Draw the figures of each claim's variants, and of the variants in no claim."""
    runs = by_variant([record for record in records if record.training])
    metric = metric_in(records, comparison)
    claims = comparison.claims if comparison else ()
    named = {claim.name: claim.variants for claim in claims}
    rest = [variant for variant in runs if not any(variant in names for names in named.values())]
    groups = [
        (title, {variant: runs[variant] for variant in names if variant in runs})
        for title, names in (*named.items(), ("others", rest))
    ]
    groups = [(title, found) for title, found in groups if found]
    with looking():
        drawn_against = against(by_variant(records), comparison)
        if len(groups) == 1:
            return [Group("", drawn_against | _figures(found, metric)) for _, found in groups]
        return [Group("", drawn_against)] * bool(drawn_against) + [
            Group(
                title, {f"{_slug(title)}_{name}": f for name, f in _figures(found, metric).items()}
            )
            for title, found in groups
        ]


def _figures(runs: Runs, metric: Metric) -> dict[str, tuple[str, Figure]]:
    plans = {variant: found[0].plan for variant, found in runs.items()}
    several, band = any(len(found) > 1 for found in runs.values()), band_text(runs)
    fewer = ", and the share saved against the first variant" if len(runs) > 1 else ""
    same = "The same curves against parameter updates."
    if len(runs) == 1 and not several:
        same = "The same curve against parameter updates."
    drawings = {
        "training_loss_epochs": (
            f"Training loss against epochs{band}.",
            lambda axes: _measured(axes, runs, None, "epoch"),
        ),
        "training_loss_updates": (
            same,
            lambda axes: _measured(axes, runs, None, "update"),
        ),
        f"{metric.over_run}_{metric.name}_epochs": (
            f"{metric.curve_label.capitalize()} against epochs{band}.",
            lambda axes: _measured(axes, runs, metric, "epoch"),
        ),
        f"{metric.over_run}_{metric.name}_updates": (
            same,
            lambda axes: _measured(axes, runs, metric, "update"),
        ),
        "batch_size": (
            "Batch size against epochs, as planned.",
            lambda axes: _planned(axes, plans, _batch_size, "batch size"),
        ),
        "learning_rate": (
            "Learning rate against epochs, as planned.",
            lambda axes: _planned(axes, plans, _learning_rate, "learning rate"),
        ),
        "noise_scale": (
            f"Noise scale ε/(1−m) · (N/B − 1) against epochs, as planned. {_held(plans)}".strip(),
            lambda axes: _planned(axes, plans, _noise_scale, "noise scale"),
        ),
        "updates": (
            f"Parameter updates of the whole run{fewer}.",
            lambda axes: _counted(axes, plans),
        ),
    }
    if len(runs) > len(STYLES) and points(runs):  # too many lines to tell apart
        drawings = {}
    made = {name: (caption, drawn(draw)) for name, (caption, draw) in drawings.items()}
    if all("distance" in line for found in runs.values() for run in found for line in run.training):
        caption = f"Distance of the parameters from their initial values{band}."
        made["distance"] = caption, drawn(lambda axes: _distances(axes, runs))
    if any(SIMPLE in line for found in runs.values() for run in found for line in run.training):
        caption = (
            "Measured gradient noise scale trΣ/|G|² against epochs, mean over seeds; dots: batch "
            "size. Below its noise scale, a batch is mostly noise."
        )
        made["gradient_noise_scale"] = caption, drawn(lambda axes: _gradient_noise(axes, runs))
    if settling := transients(runs):
        made["transient"] = transient_figure(settling)
    return made


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _held(plans: Mapping[str, Plan]) -> str:
    if len(plans) == 1:
        return ""
    if any(plan.scaling != 1 for plan in plans.values()):
        return "Plans with a scaling p other than 1 do not hold it constant."
    first = [float(plan.learning_rates.max() / plan.batch_sizes[0]) for plan in plans.values()]
    if max(first) > 1.001 * min(first):
        return ""
    return "Coupled schedules coincide up to the factor 1 − B/N."


def _planned(axes: Axes, plans: Mapping[str, Plan], quantity: Quantity, name: str) -> None:
    """Draw a quantity of the plan as steps, constant until the next update."""
    for (variant, plan), style in zip(plans.items(), styles(), strict=False):
        values = quantity(plan)
        changes = np.flatnonzero(np.diff(values)) + 1
        at = np.unique(np.concatenate([[0], changes, [len(values) - 1]]))
        if len(at) > MOST_POINTS:
            at = at[np.linspace(0, len(at) - 1, MOST_POINTS).astype(int)]
        epochs = np.append(plan.positions[at], plan.end) / plan.examples_per_epoch
        # Drop float32's last digits: they alone would fill the axis of a constant.
        shown = [rounded(value, 6) for value in np.append(values[at], values[-1])]
        axes.plot(epochs, shown, drawstyle="steps-post", label=in_legend(variant), **style)
    axes.set(xlabel="epoch", ylabel=name, yscale="log")


def _counted(axes: Axes, plans: Mapping[str, Plan]) -> None:
    """Draw a bar of updates for each variant."""
    first = next(iter(plans.values())).num_updates
    for place, (plan, style) in enumerate(zip(plans.values(), styles(), strict=False)):
        saved = 1 - plan.num_updates / first
        axes.barh(place, plan.num_updates, color=style["color"], alpha=0.8)
        axes.annotate(
            f"{plan.num_updates:,}" + (f"  (−{saved:.0%})" if saved > 0 else ""),
            (plan.num_updates, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(plans)), plans)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set(xlabel="parameter updates")
    axes.grid(axis="y", visible=False)


def _batch_size(plan: Plan) -> npt.NDArray[np.floating]:
    return plan.batch_sizes.astype(float)


def _learning_rate(plan: Plan) -> npt.NDArray[np.floating]:
    return np.where(plan.learning_rates > 0, plan.learning_rates, np.nan)


def _noise_scale(plan: Plan) -> npt.NDArray[np.floating]:
    return noise_scale(_learning_rate(plan), plan.batch_sizes, plan.momentum, plan.num_examples)


def _measured(axes: Axes, runs: Runs, metric: Metric | None, along: str) -> None:
    """Draw a test metric's mean over seeds, with a band of its deviation; None: training loss."""
    ends = [found[0].training[-1][along] for found in runs.values()]
    logarithmic = max(ends) > LONGER * min(ends)  # else short runs look vertical
    if logarithmic:
        axes.set_xscale("log")
    if metric is None and all(
        line["loss"] > 0 for found in runs.values() for run in found for line in run.training
    ):
        axes.set_yscale("log")
    for (variant, found), style in zip(runs.items(), styles(), strict=False):
        lines = [run.training if metric is None else run.evaluations for run in found]
        shared = min(len(run) for run in lines)  # unfinished runs have fewer
        x = np.array([line[along] for line in lines[0][:shared]])
        y = np.array(
            [[metric.of(line) if metric else line["loss"] for line in r[:shared]] for r in lines]
        )
        if logarithmic:
            x, y = x[x > 0], y[:, x > 0]
        banded(axes, x, y.mean(0), deviation(y), label=in_legend(variant), **style)
    if metric is None:
        axes.set(xlabel=_AXES[along], ylabel="training loss")
        return
    unit = metric.of_values and f" ({metric.of_values})"
    axes.set(xlabel=_AXES[along], ylabel=f"{metric.curve_label}{unit}")
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


def _distances(axes: Axes, runs: Runs) -> None:
    """Draw ‖ω − ω₀‖ against the logarithm of updates, with a band of its standard deviation."""
    for (variant, found), style in zip(runs.items(), styles(), strict=False):
        shared = min(len(run.training) for run in found)
        updates = [line["update"] for line in found[0].training[:shared]]
        y = np.array([[line["distance"] for line in run.training[:shared]] for run in found])
        banded(axes, updates, y.mean(0), deviation(y), label=in_legend(variant), **style)
    axes.set(xlabel=_AXES["update"], ylabel="distance from the start", xscale="log")


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
    axes.set(xlabel=_AXES["epoch"], ylabel="examples", yscale="log")


_AXES = {"epoch": "epoch", "update": "parameter updates"}
