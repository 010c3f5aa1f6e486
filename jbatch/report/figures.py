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
from jbatch.report.drawing import STYLES, drawn, in_legend, looking, styles
from jbatch.report.measured import ALWAYS, Drawings, Runs, measured
from jbatch.report.runs import Record, by_variant, metric_in
from jbatch.report.scaling import against, points
from jbatch.report.transient import transient_figure, transients
from jbatch.text import rounded

MOST_POINTS = 2000  # of a line; a reader cannot see more

Quantity = Callable[[Plan], npt.NDArray[np.floating]]  # of every update: (num_updates,)


class Group(NamedTuple):
    """Hold variants that share figures."""

    title: str  # empty if there is only one group
    figures: dict[str, tuple[str, Figure]]  # name → (caption, figure)


def figures(
    records: Sequence[Record], comparison: Comparison | None, price: float | None = None
) -> list[Group]:
    """Draw the figures of each claim's variants, and of the variants in no claim.

    Args:
        records: of runs.
        comparison: whose claims group the variants.
        price: of a device for an hour; curves are drawn against cost then.
    """
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
            return [
                Group("", drawn_against | _figures(found, metric, price)) for _, found in groups
            ]
        return [Group("", drawn_against)] * bool(drawn_against) + [
            Group(
                title,
                {
                    f"{_slug(title)}_{name}": figure
                    for name, figure in _figures(found, metric, price).items()
                },
            )
            for title, found in groups
        ]


def _figures(runs: Runs, metric: Metric, price: float | None) -> dict[str, tuple[str, Figure]]:
    plans = {variant: found[0].plan for variant, found in runs.items()}
    fewer = ", and the share saved against the first variant" if len(runs) > 1 else ""
    drawings: Drawings = {
        **measured(runs, metric, price),
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
        drawings = {name: drawings[name] for name in drawings if name in ALWAYS}
    made = {name: (caption, drawn(draw)) for name, (caption, draw) in drawings.items()}
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
