"""Results against a quantity: of a sweep's grid, or as experiments say."""

from dataclasses import replace

import optax
import pytest

import jbatch
from commands import TINY
from jbatch.errors import Mistake
from jbatch.experiment.comparison import Claim, Comparison
from jbatch.report.figures import figures
from jbatch.report.runs import Record, summarize
from jbatch.report.scaling import Point, against, point_of, points
from jbatch.report.text import comparison_table, comparison_text
from jbatch.run.reopen import load_experiment_file

PLAN = jbatch.couple(
    optax.constant_schedule(0.1), num_examples=100, num_epochs=2, batch_size=10, batch_sizes=[10]
)
TO_REACH = Comparison(reach=70)


def run(variant, accuracies, seed=0, cell=()):
    """A run of two epochs; of which it diverges in the second if it has one accuracy."""
    lines = []
    for epoch, accuracy in enumerate(accuracies, 1):
        standing = {"epoch": epoch, "update": 10 * epoch, "seconds": epoch, "accuracy": accuracy}
        standing["examples"] = 100 * epoch
        training = {"loss": 1 - accuracy, "updates_per_second": 10.0, "examples_per_second": 100.0}
        lines.append({"kind": "train", **standing, **training})
        lines.append({"kind": "eval", **standing, "num_examples": 1000})
    if len(accuracies) == 1:
        lines.append({"kind": "diverged", "epoch": 2, "update": 20, "seconds": 2})
    series, _, last = variant.rpartition(", ")
    size = last.removeprefix("batch size ")
    point = {"batch size": float(size)} if size != last else None
    seeded = {"seed": seed}
    return Record(TINY.parent, variant, seeded, PLAN, lines, cell=cell, series=series, point=point)


def by_variant(*records):
    runs = {}
    for record in records:
        runs.setdefault(record.variant, []).append(record)
    return runs


RUNS = (
    run("a, batch size 8", [0.6, 0.8]),
    run("a, batch size 8", [0.7, 0.9], seed=1),
    run("a, batch size 16", [0.5, 0.7]),
    run("a, batch size 16", [0.5, 0.6], seed=1),
    run("a, batch size 32", [0.5, 0.9]),
    run("a, batch size 32", [0.5], seed=1),
)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (("plan.batch-size 32",), Point("a", "batch size", 32)),
        (
            ("task.model.hidden 8", "optimizer.weight-decay 5e-4"),
            Point("a, task.model.hidden 8", "weight decay", 5e-4),
        ),
        (("optimizer.nesterov True",), None),
        (("plan.momentum nan",), None),
        ((), None),
    ],
)
def test_a_sweeps_last_field_is_a_point(cell, expected):
    assert point_of(run(", ".join(("a", *cell)), [0.5], cell=cell)) == expected


def test_points_are_of_one_quantity():
    def at(*said):
        runs = {}
        for name, series, point in said:
            runs[name] = [replace(run(name, [0.5]), series=series, point=point)]
        return points(runs).keys()

    assert at(("x", "a", {"size": 1}), ("y", "b", {"size": 2})) == {"x", "y"}
    assert at(("x", "a", {"size": 1}), ("y", "a", {"rate": 2})) == set()
    assert at(("x", "a", {"size": 1}), ("y", "a", {"size": 2}), ("z", "", None)) == {"x", "y"}
    two = ("x", "a", {"size": 1}), ("y", "a", {"size": 1.0})
    assert at(*two, ("z", "a", {"size": 2})) == set()
    assert at(("x", "a", {"size": 1}), ("y", "b", {"size": 1})) == set()


def test_a_point_is_of_one_quantity():
    with pytest.raises(Mistake, match=r"point is .* give one quantity"):
        replace(load_experiment_file(TINY).variant("decaying"), point={"a": 1, "b": 2})


def test_means_over_seeds_without_what_diverged():
    made = against(by_variant(*RUNS), TO_REACH)
    caption, figure = made["against_test_error"]
    assert caption == (
        "Test error at the end against batch size; the band is the standard deviation over seeds "
        "(without a, batch size 32)."
    )
    [line] = figure.axes[0].lines
    assert line.get_xydata().tolist() == [[8, pytest.approx(15)], [16, pytest.approx(35)]]
    [line] = made["against_epochs_to_reach"][1].axes[0].lines
    assert line.get_ydata()[0] == 1.5
    assert str(line.get_ydata()[1]) == "nan"  # one seed never comes so far


def test_a_seed_that_diverged_before_its_first_log_counts_too():
    early = run("a, batch size 32", [0.5], seed=2)
    early = replace(early, lines=[line for line in early.lines if line["kind"] != "train"])
    records = [*RUNS[:5], early]
    [group] = figures(records, None)
    caption, _ = group.figures["against_test_error"]
    assert caption.endswith("(without a, batch size 32).")


def test_a_claim_about_what_diverged_throughout_is_undecided():
    claims = Comparison((Claim("a, batch size 8", same=("a, batch size 32",)),))
    both = [RUNS[0], RUNS[1], RUNS[5]]
    assert comparison_text(both, claims).endswith(
        "Undecided because runs diverged: a, batch size 32."
    )


def test_a_seed_that_diverged_has_not_reached_the_target():
    header, rows = comparison_table(summarize(RUNS, TO_REACH), TO_REACH)
    column = header.index("epochs to test accuracy 70%")
    assert [row[column] for row in rows] == ["1.5", "1 of 2", "1 of 2"]


def test_a_mean_that_is_not_of_all_seeds_says_so():
    header, rows = comparison_table(summarize(RUNS), None)
    column = header.index("test accuracy %")
    assert [row[column] for row in rows] == [*("85.00 ± 7.07", "65.00 ± 7.07", "90.00 (1 of 2)")]


def test_each_field_of_a_grid_has_its_column():
    cells = [("plan.batch-size 8", "task.model.hidden 64 64"), ("plan.batch-size 16",), ()]
    runs = [run(", ".join(("a", *cell)), [0.6, 0.8], cell=cell) for cell in cells]
    header, rows = comparison_table(summarize(runs), None)
    assert header[:4] == ("schedule", "plan.batch-size", "task.model.hidden", "test accuracy %")
    assert [row[:3] for row in rows] == [("a", "8", "64 64"), ("a", "16", ""), ("a", "", "")]
