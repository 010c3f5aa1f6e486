"""Figures inside the page."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jbatch.report.drawing import drawn, looking, saved, styles
from jbatch.report.inline import columns, inline


def figure(draw):
    with looking():
        return drawn(draw)


def curves(axes):
    first, second = styles(), styles()
    axes.plot([1, 2, 4], [10, 20, 40], label="<b> & co", **next(first))
    next(second)
    axes.plot([2, 3], [1, np.nan], label="other", **next(second))
    axes.plot([0, 5], [0, 0], color="#000000")  # one seed of many
    axes.set(xlabel="epoch", ylabel="loss")


def test_values_are_those_of_the_lines_at_their_points():
    found = columns(figure(curves).axes[0])
    assert [column.x for column in found] == [1, 2, 3, 4]
    values = [{name: value for name, _, value in column.values} for column in found]
    assert values == [
        {"<b> & co": 10},
        {"<b> & co": 20, "other": 1},
        {"<b> & co": pytest.approx(30)},  # read off the drawn line
        {"<b> & co": 40},
    ]


def test_steps_hold_until_the_next():
    def steps(axes):
        axes.plot([0, 15, 30], [8, 16, 16], drawstyle="steps-post", label="batch")

    found = columns(figure(steps).axes[0])
    assert len(found) == 80
    assert {column.values[0][2] for column in found if column.x < 15} == {8}
    assert {column.values[0][2] for column in found if column.x >= 15} == {16}


def test_many_points_are_thinned_and_a_line_without_a_name_is_shown():
    many = figure(lambda axes: axes.plot(np.arange(1000), np.arange(1000) ** 2))
    found = columns(many.axes[0])
    assert len(found) == 80
    assert all(column.values[0][2] == column.x**2 for column in found)
    assert columns(figure(lambda axes: axes.barh(0, 1)).axes[0]) == []
    assert columns(figure(lambda axes: axes.plot([], [], label="a")).axes[0]) == []


def test_the_svg_stands_inside_a_page():
    made = figure(curves)
    text = inline(saved(made, "svg"), made, 'a "caption" & more')
    root = ElementTree.fromstring(text)  # well-formed, and alone
    assert root.attrib["aria-label"] == 'a "caption" & more'
    assert not {"width", "height"} & root.attrib.keys()
    assert "<style" not in text
    assert "font-family" not in text
    assert not re.findall("#000000|#ffffff|<b>", text)  # but the page's colours, and text
    assert "&lt;b&gt; &amp; co 20" in text
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r"(?:url\(|href=\")#(\w+)", text)) <= set(ids)


def test_columns_cover_the_plot_and_are_where_its_points_are():
    made = figure(curves)
    text = inline(saved(made, "svg"), made, "")
    points = re.search(r'<path d="([^"]*)" clip-path[^>]*stroke: #0072b2', text)[1]
    columns = re.findall(
        r'<g class="at"><rect x="([\d.]+)"[^>]* width="([\d.]+)"[^>]*/><path d="M([\d.]+) ', text
    )
    found = [tuple(map(float, each)) for each in columns]
    for (x, width, place), (after, _, _) in itertools.pairwise(found):
        assert x <= place <= x + width
        assert x + width == pytest.approx(after, abs=0.11)
    drawn_at = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", points)]
    assert [found[0][2], found[1][2], found[3][2]] == pytest.approx(drawn_at, abs=0.1)
