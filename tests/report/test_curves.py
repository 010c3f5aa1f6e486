"""Whether curves coincide."""

import numpy as np
import optax
import pytest

import jbatch
from commands import TINY
from jbatch.experiment.comparison import Claim, Comparison
from jbatch.report.curves import _at_ends, against_margin, compare_curves
from jbatch.report.runs import Record, awaited
from jbatch.report.text import curve_text

PLAN = jbatch.couple(
    optax.constant_schedule(0.1), num_examples=100, num_epochs=3, batch_size=10, growth_factor=2
)
COMPARISON = Comparison((Claim("a", same=("b",), different=("c",)),))


def record(variant, seed, losses, short=0.0):
    """Lines at the ends of epochs, which whole batches leave `short` of them."""
    lines = []
    for number, loss in enumerate(losses, 1):
        at = {"epoch": number - short, "update": 10 * number, "examples": 100 * number}
        lines.append({"kind": "train", "loss": loss, **at})
        lines.append({"kind": "eval", "accuracy": 1 - loss, **at})
    return Record(TINY.parent, variant, {"seed": seed}, PLAN, lines)


def test_differences_are_paired_by_seed_and_held_against_the_margin():
    records = [
        record("a", 0, [0.5, 0.4, 0.3]),
        record("a", 1, [0.7, 0.4, 0.1]),
        record("a", 2, [0.6, 0.4, 0.2]),
        record("b", 0, [0.5, 0.5, 0.32], short=0.01),
        record("b", 1, [0.7, 0.5, 0.14], short=0.01),
        record("b", 2, [0.6, 0.5, 0.23], short=0.01),
        record("c", 0, [0.5, 0.4, 0.3]),
    ]
    loss, accuracy = compare_curves(records, COMPARISON)
    # First epoch: equal. Second: 0.1 of 0.4 in all seeds. Third: 0.02 to 0.04, so undecided.
    assert (loss.within, loss.outside, loss.epochs, loss.at) == (1, 1, 3, 2)
    assert loss.largest == pytest.approx(25)  # percent
    assert accuracy.largest == pytest.approx(-10)  # points
    assert curve_text(accuracy) == (
        "b − a, test accuracy: mean over the epochs −4.33 points (95% interval −5.16 to −3.51); "
        "within ±0.5 points at 1 of 3 epochs, outside at 1, undecided at 1 "
        "(95% intervals, paired by seed); the largest −10.00 points (epoch 2)"
    )


def test_lines_between_epochs_and_before_the_first_do_not_count():
    lines = [
        {"epoch": epoch, "loss": loss}
        for epoch, loss in ((0, 9.0), (0.5, 8.0), (0.99, 1.0), (1.4, 7.0), (1.99, 2.0), (2.4, 6.0))
    ]
    assert _at_ends(lines, "loss") == {1: 1.0, 2: 2.0}


def test_two_seeds_with_the_same_difference_decide_nothing():
    differences = np.array([[0.0, 3.0, 0.1], [0.0, 3.0, 0.1 + 1e-6]])
    within, outside = against_margin(differences, 1.0)
    assert (within.tolist(), outside.tolist()) == ([False, False, True], [False] * 3)
    assert against_margin(np.zeros((3, 1)), 1.0)[0].all()


def noise(rng, runs, seeds, epochs):
    """(runs, seeds, epochs) of deviation 1, alike from one epoch to the next as curves are."""
    steps = rng.standard_normal((runs, seeds, epochs))
    for epoch in range(1, epochs):
        steps[..., epoch] = 0.8 * steps[..., epoch - 1] + 0.6 * steps[..., epoch]
    return steps


def test_errors_are_as_rare_as_they_should_be():
    """5,000 comparisons of 5 seeds and 30 epochs, a margin of 2 deviations of a difference.

    A true difference just at the margin is called within at 2.5% of epochs (a one-sided error of a
    two-sided interval of 95%), and outside, at any epoch at all, in 5% of comparisons at most. The
    counts' own deviations are 0.1% (5,000 comparisons whose epochs are alike, some 5 of 30 that
    know nothing of each other) and 0.3%.
    """
    rng, margin = np.random.default_rng(0), 2.0
    at_margin = [against_margin(one + margin, margin) for one in noise(rng, 5000, 5, 30)]
    assert np.mean([within.mean() for within, _ in at_margin]) == pytest.approx(0.025, abs=0.005)
    assert np.mean([outside.any() for _, outside in at_margin]) < 0.05
    # Curves that are the same are called so, and those twice the margin apart are not.
    same = [against_margin(one, margin)[0].mean() for one in noise(rng, 500, 5, 30)]
    other = [against_margin(one + 3 * margin, margin)[0].mean() for one in noise(rng, 500, 5, 30)]
    assert np.mean(same) > 0.8
    assert np.mean(other) < 0.001


def test_one_seed_has_no_interval():
    records = [record("a", 0, [0.5, 0.4, 0.3]), record("b", 0, [0.5, 0.4, 0.3])]
    assert compare_curves(records, COMPARISON) == []
    assert compare_curves(records, None) == []


def test_runs_under_way_are_left_out():
    whole = [record("a", seed, [0.5, 0.4, 0.3]) for seed in range(2)]
    records = [*whole, *(record("b", seed, [0.5, 0.4]) for seed in range(2))]
    assert compare_curves(records, COMPARISON) == []
    assert awaited(records, COMPARISON) == ["b", "c"]  # one has not ended, one has not begun
    assert awaited(records, None) == []
