"""How every figure looks, and is written."""

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import cycle

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# Okabe and Ito's colours, which colour-blind readers tell apart; the dashes serve print.
STYLES = [
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#E69F00", "linestyle": "--"},
    {"color": "#009E73", "linestyle": "-."},
    {"color": "#CC79A7", "linestyle": ":"},
    {"color": "#D55E00", "linestyle": (0, (5, 1))},
    {"color": "#56B4E9", "linestyle": (0, (3, 1, 1, 1))},
    {"color": "#000000", "linestyle": (0, (1, 3))},
]
LOOK = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.hashsalt": "jbatch",
    "svg.fonttype": "none",
}


def styles() -> Iterator[dict]:
    """For line after line."""
    return cycle(STYLES)


def drawn(draw: Callable[[Axes], None]) -> Figure:
    """A figure of what `draw` puts on its axes."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()
        steps = (1, 2, 5) if high / low < 1000 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return figure


def saved(figure: Figure, form: str) -> bytes:
    """The figure as a file: "svg", always the same, or "png"."""
    file = BytesIO()
    with matplotlib.rc_context(LOOK):
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(file, format=form, dpi=150, metadata=metadata)
    return file.getvalue()
