"""The figures of a report."""

from dataclasses import replace

import optax
import pytest
from matplotlib.figure import Figure

import jbatch
from commands import TINY
from jbatch.experiment.comparison import Claim, Comparison
from jbatch.report.drawing import drawn, looking, saved
from jbatch.report.figures import figures
from jbatch.report.runs import Record

NAMES = {
    "training_loss_epochs",
    "training_loss_updates",
    "training_loss_seconds",
    "test_accuracy_epochs",
    "test_accuracy_updates",
    "test_accuracy_seconds",
    "batch_size",
    "learning_rate",
    "noise_scale",
    "updates",
}


def record(variant, growth=2.0, losses=(0.5, 0.3)):
    plan = jbatch.couple(
        optax.piecewise_constant_schedule(0.1, {1: 0.5}),
        num_examples=100,
        num_epochs=2,
        batch_size=10,
        growth_factor=growth,
        momentum=0.9,
    )
    lines = [
        {"kind": kind, "epoch": end, "update": 10 * int(end), "examples": 100 * int(end)}
        | {"seconds": 3.0 * end, "updates_per_second": 5.0, name: value}
        for end, loss in enumerate(losses, 1)
        for kind, name, value in (("train", "loss", loss), ("eval", "accuracy", 1 - loss))
    ]
    return Record(TINY.parent, variant, {"seed": 0}, plan, lines)


def curves(figure):
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].get_lines()}


def test_one_claim_is_one_group():
    comparison = Comparison((Claim("a", same=("b",)),))
    [group] = figures([record("a"), record("b")], comparison)
    assert group.title == ""
    assert group.figures.keys() == NAMES
    assert list(curves(group.figures["training_loss_epochs"][1])) == ["a", "b"]


def test_each_claim_is_drawn_by_itself_and_the_rest_together():
    comparison = Comparison((Claim("a", same=("b",), title="One: two"), Claim("c")))
    groups = figures([record(name) for name in "abcd"], comparison)
    assert [group.title for group in groups] == ["One: two", "c", "others"]
    assert groups[0].figures.keys() == {f"one_two_{name}" for name in NAMES}
    _, figure = groups[0].figures["one_two_updates"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_the_same_curves_against_epochs_and_updates():
    [group] = figures([record("a", losses=(0.5, 0.3)), record("a", losses=(0.7, 0.1))], None)
    by_epochs = curves(group.figures["training_loss_epochs"][1])["a"]
    by_updates = curves(group.figures["training_loss_updates"][1])["a"]
    assert by_epochs == [[1.0, pytest.approx(0.6)], [2.0, pytest.approx(0.2)]]
    assert by_updates == [[10.0, pytest.approx(0.6)], [20.0, pytest.approx(0.2)]]
    _, figure = group.figures["test_accuracy_epochs"]
    [band] = figure.axes[0].collections
    *seeds, _ = figure.axes[0].get_lines()
    assert [line.get_ydata().tolist() for line in seeds] == [[50, 70], [pytest.approx(30), 90]]
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(80 + 100 * 0.02**0.5)  # mean and deviation of 70 and 90


def test_curves_against_seconds_and_cost():
    """10 updates at 5 a second; 3 s since the start, on two devices at 1,800 an hour."""
    run = replace(record("a"), environment={"devices": "2 × cpu"})
    [group] = figures([run], None, 1800.0)
    assert [x for x, _ in curves(group.figures["training_loss_seconds"][1])["a"]] == [2.0, 4.0]
    assert [x for x, _ in curves(group.figures["test_accuracy_cost"][1])["a"]] == [3.0, 6.0]


def test_training_and_test_loss_in_one_figure():
    run = record("a")
    lines = [{**line, "loss": 0.6} if line["kind"] == "eval" else line for line in run.lines]
    [group] = figures([replace(run, lines=lines)], None)
    both = curves(group.figures["losses"][1])
    assert both == {"a, training": [[1, 0.5], [2, 0.3]], "a": [[1, 0.6], [2, 0.6]]}


def test_a_logarithmic_axis_has_plain_numbers():
    """matplotlib's own are mathematics, which figures do not set."""

    def draw(axes):
        axes.plot([1, 1000], [0.01, 100])
        axes.set(xscale="log", yscale="log")

    with looking():
        figure = drawn(draw)
    saved(figure, "svg")
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        texts = [label.get_text() for label in axis.get_ticklabels()]
        assert {"1", "100"} <= set(texts)
        assert not any("$" in text for text in texts)


def test_a_figure_is_always_the_same_file():
    one, other = (figures([record("a")], None)[0].figures["learning_rate"][1] for _ in range(2))
    assert saved(one, "svg") == saved(other, "svg")
    assert saved(one, "png").startswith(b"\x89PNG")


def test_one_point_has_a_mark():
    [group] = figures([record("a", losses=(0.5,)), record("b")], None)
    marks = [line.get_marker() for line in group.figures["training_loss_epochs"][1].axes[0].lines]
    assert marks == ["o", "None"]


def test_what_has_not_been_evaluated_yet_is_no_obstacle():
    begun = record("a")
    begun = replace(begun, lines=[line for line in begun.lines if line["kind"] == "train"])
    for runs in ([begun], [begun, record("b")]):
        [group] = figures(runs, None)
        assert group.figures.keys() == NAMES


def test_nothing_logged_draws_nothing():
    assert figures([record("a", losses=())], None) == []


def test_a_figure_drawn_elsewhere_has_plain_numbers():
    figure = Figure(layout="constrained")
    figure.subplots().loglog([1, 1000], [1e-3, 10])
    assert b"mathdefault" not in saved(figure, "svg")


def test_logarithmic_axes_keep_what_was_chosen_for_them():
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.plot([1, 2, 4, 8], [32, 128, 640, 640])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_yticks([32, 128, 640])
    svg = saved(figure, "svg").decode()
    assert [number for number in ("1", "2", "4", "8") if f">{number}</text>" not in svg] == []
    assert ">1.5<" not in svg
    assert [number for number in ("32", "128", "640") if f">{number}</text>" not in svg] == []
    assert "mathdefault" not in svg
