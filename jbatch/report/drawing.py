"""Set the style of every figure, draw it and write it to a file."""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

if TYPE_CHECKING:  # older versions lack it
    from matplotlib.typing import RcKeyType

# Okabe and Ito's colours, which colour-blind readers tell apart; the dashes serve print.
STYLES: list[dict[str, Any]] = [
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#E69F00", "linestyle": "--"},
    {"color": "#009E73", "linestyle": "-."},
    {"color": "#CC79A7", "linestyle": ":"},
    {"color": "#D55E00", "linestyle": (0, (5, 1))},
    {"color": "#56B4E9", "linestyle": (0, (3, 1, 1, 1))},
    {"color": "#000000", "linestyle": (0, (1, 3))},
]
TICKS = (  # logarithmic axis: (up to this many times the least, ticks in each decade)
    (20, (1, 1.5, 2, 3, 4, 5, 7)),
    (1000, (1, 2, 5)),
    (np.inf, (1,)),
)
SIZE = 5.2, 3.5  # inches; small, so that text is large on a phone
SHORT, LONG = 24, 54  # letters of a legend name: two in a row; in a line
ROW = 0.22  # inches of the legend
LOOK: "dict[RcKeyType, Any]" = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "svg.hashsalt": "jbatch",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in a variant's name is only a $
}


@contextmanager
def looking() -> Iterator[None]:
    """Use this module's style inside the block and ignore any matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        yield


def styles() -> Iterator[dict[str, Any]]:
    """Cycle through the line styles."""
    return cycle(STYLES)


def drawn(draw: Callable[[Axes], None]) -> Figure:
    """Make a figure with `draw` on its axes."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    draw(axes)
    handles, names = axes.get_legend_handles_labels()
    if names:
        columns = 2 if max(map(len, names)) <= SHORT else 1
        names = [textwrap.fill(name, LONG) for name in names]
        rows = sum(name.count("\n") + 1 for name in names) / columns
        figure.set_figheight(SIZE[1] + ROW * math.ceil(rows))  # or it covers curves
        figure.legend(handles, names, loc="outside upper center", ncols=columns)
    return figure


def _with_plain_numbers(axes: Axes) -> None:
    """Give logarithmic axes enough ticks, and numbers where matplotlib writes mathematics."""
    for axis in (axes.xaxis, axes.yaxis):
        mathematics = isinstance(axis.get_major_formatter(), LogFormatterSciNotation)
        if axis.get_scale() == "log" and mathematics:
            ticks, base = axis.get_major_locator(), axis.get_transform().base  # type: ignore[attr-defined]
            if isinstance(ticks, LogLocator) and base == 10:  # neither 1, 2, 4 … nor chosen ones
                low, high = axis.get_view_interval()
                steps = next(steps for most, steps in TICKS if high / low < most)
                axis.set_major_locator(LogLocator(subs=steps))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())


def in_legend(name: str) -> str:
    """Prepare a variant's name for the legend: matplotlib omits names that begin with _."""
    return f" {name}" if name.startswith("_") else name


def banded(
    axes: Axes,
    x: npt.ArrayLike,
    mean: npt.NDArray[np.float64],
    spread: npt.NDArray[np.float64],
    **style: Any,
) -> None:
    """Draw a line with a band of ± its spread; a single point gets a mark."""
    axes.plot(x, mean, **{"marker": "o" if len(mean) == 1 else None, **style})
    if spread.any():
        least = mean / 10 if axes.get_yscale() == "log" else -np.inf  # a log axis has no 0
        low = np.maximum(mean - spread, least)
        axes.fill_between(x, low, mean + spread, color=style["color"], alpha=0.15, linewidth=0)


def over_seeds(axes: Axes, seeds: Sequence[npt.NDArray[np.float64]], **style: Any) -> None:
    """Draw the mean over seeds and its band, and behind them each seed.

    Args:
        axes: to draw on.
        seeds: x and y of each seed, (2, points); unfinished runs have fewer points, and the mean
            ends where the first of them does.
        style: of the mean's line.
    """
    if len(seeds) > 1:
        for x, y in seeds:
            axes.plot(x, y, color=style["color"], linewidth=0.6, alpha=0.35, zorder=1.5)
    shared = min(each.shape[1] for each in seeds)
    x, y = np.stack([each[:, :shared] for each in seeds], 1)  # (seeds, points)
    banded(axes, x.mean(0), y.mean(0), deviation(y), **style)


def band_text(runs: Mapping[str, Sequence[object]]) -> str:
    """Return the caption's text about bands, for variant → its runs."""
    several = any(len(found) > 1 for found in runs.values())
    return "; the band is the standard deviation over seeds" if several else ""


def deviation(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the standard deviation over seeds, of shape (seeds, …); 0 for a single seed."""
    return values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])


def saved(figure: Figure, form: str) -> bytes:
    """Return the figure as a file: "svg" (same bytes every time) or "png"."""
    file = BytesIO()
    for axes in figure.axes:
        _with_plain_numbers(axes)
    with looking():
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(file, format=form, dpi=150, metadata=metadata)
        figure.set_layout_engine("none")  # the next form has the same, which takes half the time
    return file.getvalue()
