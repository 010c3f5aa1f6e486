"""Put a figure into a page as SVG that takes the page's colours and shows values on hover.

It needs no script: each column of the plot is a rectangle with its values as text, which a style
sheet shows while the pointer is over it.
"""

import re
from html import escape
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jbatch.printable import printable
from jbatch.text import significant

MOST_COLUMNS = 80
LINE = 11  # height of a line of text, in points
DIGITS = 4

Floats = npt.NDArray[np.float64]


class Column(NamedTuple):
    """Hold the values of all lines at one place."""

    x: float
    values: tuple[tuple[str, str, float], ...]  # (name, colour, value) of each line that is there


def inline(svg: bytes, figure: Figure, caption: str) -> Markup:
    """Return a figure's SVG for a page, with values on hover.

    Args:
        svg: the figure's file.
        figure: the same, as it was drawn for that file.
        caption: what it shows, for those who cannot see it.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r" (width|height)=\"[\d.]+pt\"", "", text)
    text = re.sub(r" id=\"(?![mp][0-9a-f]{10}\")[^\"]*\"", "", text)  # of other figures too
    text = re.sub(r" font-family: [^;\"]*;?", "", text)
    text = re.sub(r"\bfont: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # of matplotlib 3.9
    body, end, _ = text.rpartition("</svg>")
    text = body + "".join(_hover(figure, axes) for axes in figure.axes) + end
    text = text.replace("#000000", "currentColor").replace("fill: #ffffff", "fill: none")
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
    return Markup(printable(text, "\n\t"))


def columns(axes: Axes) -> list[Column]:
    """Return where the values of a plot's lines are shown, by rising x.

    A line's value between its points is read off the drawn line. Curves are shown at their own
    points, and steps, which have few, at evenly spaced places.
    """
    lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    lines = lines or list(axes.get_lines()[:1])
    low, high = sorted(axes.get_xlim())
    places = [np.asarray(line.get_xdata(), float) for line in lines]
    if any(_steps(line) for line in lines):
        ends = [x[[0, -1]] for x in places if len(x)]
        places = [np.linspace(np.min(ends), np.max(ends), MOST_COLUMNS)] if ends else []
    found = np.unique(np.concatenate(places)) if places else np.array([])
    found = found[np.isfinite(found) & (low <= found) & (found <= high)]
    if len(found) > MOST_COLUMNS:
        found = found[np.linspace(0, len(found) - 1, MOST_COLUMNS).round().astype(int)]
    values = [_values(line, found) for line in lines]
    return [
        Column(
            float(x),
            tuple(
                (str(line.get_label()).strip(), str(line.get_color()), float(each[place]))
                for line, each in zip(lines, values, strict=True)
                if np.isfinite(each[place])
            ),
        )
        for place, x in enumerate(found)
    ]


def _steps(line: Line2D) -> bool:
    return line.get_drawstyle() == "steps-post"


def _values(line: Line2D, at: Floats) -> Floats:
    """Return a line's values at some x, nan where it is not."""
    x, y = (np.asarray(data, float) for data in line.get_data())
    if not len(x):
        return np.full(len(at), np.nan)
    if _steps(line):
        there = (x[0] <= at) & (at <= x[-1])
        return np.where(there, y[np.searchsorted(x, at, side="right") - 1], np.nan)
    found: Floats = np.interp(at, x, y, left=np.nan, right=np.nan)
    return found


def _hover(figure: Figure, axes: Axes) -> str:
    found = [column for column in columns(axes) if column.values]
    if not found:
        return ""
    width, height = figure.bbox.size
    box = axes.bbox
    scale = 72 * np.array(figure.get_size_inches()) / (width, height)  # pixels → points
    left, right = box.x0 * scale[0], box.x1 * scale[0]
    top, tall = (height - box.y1) * scale[1], box.height * scale[1]
    at = axes.transData.transform([(column.x, axes.get_ylim()[0]) for column in found])[:, 0]
    at = at * scale[0]
    edges = np.array([left, *(at[:-1] + at[1:]) / 2, right])
    label = axes.get_xlabel()
    parts = []
    for column, x, start, end in zip(found, at, edges[:-1], edges[1:], strict=True):
        # Beside the pointer, on the side where there is more room.
        place, anchor = (right - 4, "end") if x < (left + right) / 2 else (left + 4, "start")
        rows = [escape(f"{label} {significant(column.x, DIGITS)}")]
        rows += [
            f'<tspan fill="{escape(colour)}">■</tspan> '
            + escape(f"{name or axes.get_ylabel()} {significant(value, DIGITS)}")
            for name, colour, value in column.values
        ]
        shown = "".join(f'<tspan x="{place:.0f}" dy="{LINE}">{row}</tspan>' for row in rows)
        parts.append(
            f'<g class="at"><rect x="{start:.1f}" y="{top:.1f}" width="{max(end - start, 0):.1f}" '
            f'height="{tall:.1f}"/><path d="M{x:.1f} {top:.1f}v{tall:.1f}"/>'
            f'<text y="{top:.0f}" text-anchor="{anchor}">{shown}</text></g>'
        )
    return "".join(parts)
