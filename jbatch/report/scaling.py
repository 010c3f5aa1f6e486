"""Draw results against a quantity, for example the batch size: a sweep's or experiments' points."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from jbatch.experiment.comparison import Comparison, Metric
from jbatch.report.drawing import band_text, banded, deviation, drawn, in_legend, styles
from jbatch.report.runs import Record, metric_in
from jbatch.text import listed

WIDE = 4  # an axis is logarithmic if it reaches this many times its least value
MOST_TICKS = 10
MOST_NAMED = 3  # variants that a caption names as left out


class Point(NamedTuple):
    """Place a variant on the axis that it shares with others."""

    series: str  # variants of one series form one line
    quantity: str
    value: float


def point_of(record: Record) -> Point | None:
    """Return a run's point: the last field of its sweep's grid, or its experiment's own point."""
    if record.cell:
        field, _, text = record.cell[-1].partition(" ")
        try:
            value = float(text)
        except ValueError:
            return None
        series = ", ".join((record.of_file, *record.cell[:-1]))
        quantity = field.rpartition(".")[2].replace("-", " ")
    elif record.point:
        [(quantity, value)] = record.point.items()
        series = record.series
    else:
        return None
    return Point(series, quantity, value) if math.isfinite(value) else None


def points(runs: Mapping[str, Sequence[Record]]) -> dict[str, Point]:
    """Return the points at the most common quantity, if they have at least two values of it."""
    found = {
        name: here
        for name, records in runs.items()
        if records and (here := point_of(records[0])) is not None
    }
    quantities = Counter(point.quantity for point in found.values())
    if not quantities:
        return {}
    [(most, _)] = quantities.most_common(1)
    found = {name: point for name, point in found.items() if point.quantity == most}
    different = len({(point.series, point.value) for point in found.values()})
    if different < len(found) or len({point.value for point in found.values()}) < 2:
        return {}
    return found


def against(
    runs: Mapping[str, Sequence[Record]], comparison: Comparison | None
) -> dict[str, tuple[str, Figure]]:
    """Draw finished runs against the quantity of their points: name → (caption, figure).

    Variants with a diverged run are left out; captions name them.

    Args:
        runs: variant → its runs.
        comparison: epochs, updates and seconds are counted up to its target.
    """
    done = {name: [run for run in found if run.finished] for name, found in runs.items()}
    # The other seeds of a variant with a diverged run would look too good.
    done = {
        name: found
        for name, found in done.items()
        if found and not any(run.diverged for run in runs[name])
    }
    found = points(done)
    if not found:
        return {}
    quantity = next(iter(found.values())).quantity
    metric = metric_in([run for found in done.values() for run in found], comparison)
    lines: dict[str, dict[float, Sequence[Record]]] = {}
    for name, (line, _, value) in sorted(found.items(), key=lambda item: item[1].value):
        lines.setdefault(line, {})[value] = done[name]
    lines = {line: lines[line] for line in dict.fromkeys(here.series for here in found.values())}
    band = band_text(done)
    if others := [name for name in runs if name not in found]:
        band += f" (without {listed(others, MOST_NAMED, ', ', ' and ')})"

    def figure(what: str, unit: str, of: Callable[[Record], float]) -> tuple[str, Figure]:
        def draw(axes: Axes) -> None:
            axes.set_yscale("log")
            _draw(axes, lines, of)
            axes.set(xlabel=quantity, ylabel=unit)

        return f"{what} against {quantity}{band}.", drawn(draw)

    def reached(which: int) -> Callable[[Record], float]:
        return lambda run: run.reached(comparison)[which]

    made = dict(_of_metric(figure, metric, [run for found in done.values() for run in found]))
    made |= {
        "training_loss": figure(
            "Training loss of the last log interval",
            "training loss",
            lambda run: run.training[-1]["loss"],
        ),
        "update_time": figure(
            "Time of an update",
            "ms per update",
            lambda run: 1e3 * run.training_seconds / run.updates,
        ),
        "epoch_time": figure(
            "Time of an epoch, training alone",
            "seconds per epoch",
            lambda run: run.training_seconds / (run.plan.end / run.plan.examples_per_epoch),
        ),
    }
    to = comparison.target(metric) if comparison is not None else ""
    if to:
        for which, unit in enumerate(("epochs", "updates", "seconds of training")):
            made[f"{unit.partition(' ')[0]}_to_reach"] = figure(
                f"{unit.capitalize()} to {to}, where all seeds reach it,",
                f"{unit} to {to}",
                reached(which),
            )
    return {f"against_{name}": drawing for name, drawing in made.items()}


def _of_metric(
    figure: Callable[[str, str, Callable[[Record], float]], tuple[str, Figure]],
    metric: Metric,
    runs: Sequence[Record],
) -> Iterator[tuple[str, tuple[str, Figure]]]:
    """Yield (name, figure) of the metric at the end: of a share, its error."""
    if not metric.is_share:
        what = metric.label.capitalize()
        yield (
            f"test_{metric.name}",
            figure(f"{what} at the end", metric.with_unit, lambda run: metric.of(run.final)),
        )
        return
    yield (
        "test_error",
        figure(
            "Test error at the end",
            "test error (%)",
            lambda run: _error(run.final[metric.name], run.final["num_examples"]),
        ),
    )
    if all(metric.name in run.training[-1] for run in runs):
        yield (
            "training_error",
            figure(
                "Training error in the last log interval",
                "training error (%)",
                lambda run: _error(run.training[-1][metric.name], run.plan.examples_per_epoch),
            ),
        )


def _error(share: float, examples: int) -> float:
    """Return the error in percent; at least half an example, since a logarithmic axis has no 0."""
    return 100 * max(1 - share, 0.5 / examples)


def _draw(
    axes: Axes,
    lines: Mapping[str, Mapping[float, Sequence[Record]]],
    of: Callable[[Record], float],
) -> None:
    for (line, runs), style in zip(lines.items(), styles(), strict=False):
        x = np.array(list(runs))
        values = [np.array([of(run) for run in found], float) for found in runs.values()]
        mean = np.array([seeds.mean() for seeds in values])
        spread = np.array([deviation(seeds) for seeds in values])
        banded(
            axes, x, mean, spread, label=in_legend(line) or None, marker="o", markersize=4, **style
        )
    shown = sorted({value for runs in lines.values() for value in runs})
    if shown[0] > 0 and shown[-1] >= WIDE * shown[0]:
        axes.set_xscale("log")
    axes.set_xticks(shown[:: -(-len(shown) // MOST_TICKS)])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
