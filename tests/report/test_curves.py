"""Whether curves coincide."""

from dataclasses import replace

import optax
import pytest

import jbatch
from commands import TINY
from jbatch.experiment import Claim, Comparison
from jbatch.experiment_file import load_experiment_file
from jbatch.report.curves import compare_curves
from jbatch.report.records import Record
from jbatch.report.text import curve_text

GROWING = load_experiment_file(TINY).variant("growing")
PLAN = jbatch.couple(
    optax.constant_schedule(0.1), num_examples=100, num_epochs=3, batch_size=10, growth_factor=2
)
COMPARISON = Comparison((Claim("a", same=("b",), different=("c",)),))


def record(variant, seed, losses, short=0.0):
    """Lines at the ends of epochs, which whole batches leave `short` of them."""
    lines = []
    for number, loss in enumerate(losses, 1):
        at = {"epoch": number - short, "update": 10 * number}
        lines.append({"kind": "train", "loss": loss, **at})
        lines.append({"kind": "eval", "accuracy": 1 - loss, **at})
    return Record(TINY.parent, variant, replace(GROWING, seed=seed), PLAN, lines, {}, {})


def test_differences_are_paired_and_measured_in_the_noise_between_seeds():
    records = [
        record("a", 0, [0.5, 0.4, 0.3]),
        record("a", 1, [0.7, 0.4, 0.1]),
        record("b", 0, [0.5, 0.5, 0.32], short=0.01),
        record("b", 1, [0.7, 0.5, 0.14], short=0.01),
        record("c", 0, [0.5, 0.4, 0.3]),
    ]
    loss, accuracy = compare_curves(records, COMPARISON)
    # Second epoch: 0.5 for 0.4 with no deviation between seeds. Third: 0.03, of 0.14.
    assert (loss.within, loss.epochs, loss.at) == (2, 3, 2)
    assert loss.largest == pytest.approx(25)  # percent
    assert accuracy.largest == pytest.approx(-10)  # points
    assert curve_text(accuracy) == (
        "b − a, test accuracy: within the deviation between seeds at 2 of 3 epochs; at most "
        "−10.00 points (epoch 2)"
    )


def test_one_seed_has_no_deviation():
    records = [record("a", 0, [0.5, 0.4, 0.3]), record("b", 0, [0.5, 0.4, 0.3])]
    assert compare_curves(records, COMPARISON) == []
    assert compare_curves(records, None) == []


def test_runs_under_way_are_left_out():
    whole = [record("a", seed, [0.5, 0.4, 0.3]) for seed in range(2)]
    assert (
        compare_curves([*whole, *(record("b", s, [0.5, 0.4]) for s in range(2))], COMPARISON) == []
    )
