"""What a comparison says of its seeds."""

from dataclasses import replace

import numpy as np
import optax
import pytest
from scipy import stats

import jbatch
from jbatch.errors import Mistake
from jbatch.experiment.comparison import ACCURACY, Claim, Comparison
from jbatch.report.runs import Summary, find, saved_updates
from jbatch.report.text import comparison_table, conclusion, finding_text

PLAN = jbatch.couple(
    optax.constant_schedule(0.1), num_examples=100, num_epochs=1, batch_size=10, batch_sizes=[10]
)


def summary(variant, accuracy, seeds=None):
    accuracy = np.array(accuracy, float)
    seeds = tuple(range(len(accuracy))) if seeds is None else seeds
    one = np.ones(len(accuracy))
    updates = PLAN.num_updates * one
    tested = ACCURACY, accuracy
    return Summary(
        variant, variant, (), PLAN, seeds, updates, one, *tested, one, one, one, 0 * one, one
    )


def test_language_models_show_perplexity_and_bits_per_byte():
    """Beside the metric of the comparison, and not where no run has them."""
    of_text = {"perplexity": np.array([6.0, 8.0]), "bits_per_byte": np.array([2.5, 2.5])}
    runs = [replace(summary("decaying", [1.8, 2.0]), beside=of_text), summary("plain", [1.0, 1.0])]
    header, rows = comparison_table(runs, None)
    first = dict(zip(header, rows[0], strict=True))
    assert first["perplexity"] == "7.0 ± 1.4"
    assert first["bits per byte"] == "2.5 ± 0"
    assert dict(zip(header, rows[1], strict=True))["perplexity"] == ""
    assert "perplexity" not in comparison_table(runs[1:], None)[0]


COMPARISON = Comparison(
    (Claim("decaying", same=("increasing", "good", "bad", "unclear"), different=("constant",)),),
    margin=1.0,
)
BASE = [90.0, 92.0, 91.0, 93.0, 92.0]


@pytest.mark.parametrize(
    ("variant", "shifts", "verdict", "as_claimed"),
    [
        ("increasing", [0.1, -0.1, 0.2, 0.0, -0.2], "same", True),
        ("increasing", [-5, -5.1, -4.9, -5, -5.2], "different", False),
        ("increasing", [3, -3, 2, -2, 0], "undecided", None),
        ("constant", [-5, -5.1, -4.9, -5, -5.2], "different", True),
        ("constant", [0.1, -0.1, 0.2, 0.0, -0.2], "same", False),
    ],
)
def test_verdicts(variant, shifts, verdict, as_claimed):
    runs = [summary("decaying", BASE), summary(variant, np.add(BASE, shifts))]
    [finding] = find(runs, COMPARISON)
    assert finding.verdict == verdict
    assert finding.as_claimed is as_claimed


def test_interval_is_students_t_of_the_paired_differences():
    shifts = np.array([0.5, -0.3, 0.1, 0.4, 0.2])
    [finding] = find([summary("decaying", BASE), summary("good", BASE + shifts)], COMPARISON)
    expected = stats.ttest_1samp(shifts, 0).confidence_interval(0.95)
    assert finding.interval == pytest.approx((expected.low, expected.high))
    assert finding_text(finding) == (
        "good − decaying: +0.18 points of test accuracy (95% interval −0.21 to +0.57), claimed "
        "within ±1: as claimed"
    )


def test_seeds_are_paired_by_number():
    runs = [summary("decaying", [90, 80], (0, 7)), summary("good", [80.5, 99], (7, 3))]
    [finding] = find(runs, COMPARISON)
    assert finding.differences.tolist() == [0.5]
    assert finding.verdict == "undecided"  # one pair has no interval


def test_two_seeds_that_differ_by_the_same_decide_nothing():
    """Their interval has no width, as if two numbers told of the spread."""
    for values, outcome in {
        (90.5, 80.5): "undecided, because its two seeds differ by the same",
        (90.1, 80.1 + 1e-12): "undecided, because its two seeds differ by the same",
        (90.5, 80.51): "as claimed",
    }.items():
        runs = [summary("decaying", [90, 80], (0, 1)), summary("good", [*values], (0, 1))]
        [finding] = find(runs, COMPARISON)
        assert finding_text(finding).endswith(f"claimed within ±1: {outcome}")
    three = [summary("decaying", [90, 80, 70], (0, 1, 2)), summary("good", [90, 80, 70], (0, 1, 2))]
    assert find(three, COMPARISON)[0].as_claimed


def test_no_difference_is_no_negative_one():
    shifts = [-0.001, 0.001, -0.002, 0.0, 0.0]
    [finding] = find([summary("decaying", BASE), summary("good", np.add(BASE, shifts))], COMPARISON)
    assert "+0.00 points of test accuracy (95% interval +0.00 to +0.00)" in finding_text(finding)


def test_savings_are_against_each_claims_baseline():
    runs = [replace(summary("a", [90, 91]), updates=np.array([40, 40])), summary("b", [90, 91])]
    assert saved_updates(runs, Comparison((Claim("a", same=("b", "not run")),))) == {"b": 0.75}
    assert saved_updates(runs, None) == {}


def test_each_claim_has_its_own_baseline():
    comparison = Comparison((Claim("a", same=("b",)), Claim("c", different=("b", "not run"))))
    three = (0, 1, 2)
    runs = [
        summary("a", [90, 91, 92], three),
        summary("b", [90, 91, 92], three),
        summary("c", [80, 81, 82], three),
    ]
    found = [(f.variant, f.baseline, f.mean, f.as_claimed) for f in find(runs, comparison)]
    assert found == [("b", "a", 0.0, True), ("b", "c", 10.0, True)]
    assert find(runs[1:], comparison)[0].baseline == "c"
    assert find(runs, None) == []


def test_where_a_run_diverged_the_others_decide_nothing():
    shifts = [-0.1, 0.1, 0.2, 0, -0.2]
    runs = [
        summary("decaying", BASE),
        replace(summary("good", np.add(BASE, shifts)), diverged=1),
        replace(summary("bad", np.add(BASE, shifts)), diverged=0),
    ]
    good, bad = find(runs, COMPARISON)
    assert (good.as_claimed, bad.as_claimed) == (None, True)
    assert finding_text(good).endswith("undecided, because 1 run diverged")


def test_two_claims_of_one_name_are_refused():
    with pytest.raises(Mistake, match=r"claims are called a: give each .*title"):
        Comparison((Claim("a", same=("b",)), Claim("a", same=("c",))))


def test_conclusions():
    good, bad, unclear = (
        find([summary("decaying", BASE), summary(name, np.add(BASE, shifts))], COMPARISON)[0]
        for name, shifts in (
            ("good", [0.1, -0.1, 0, 0, 0]),
            ("bad", [-5, -5.1, -5, -5, -5]),
            ("unclear", [3, -3, 2, -2, 0]),
        )
    )
    assert conclusion([good]) == "The claim holds here."
    assert conclusion([good, unclear]) == "Undecided at this number of seeds: unclear."
    assert conclusion([bad, unclear]) == "The claim does not hold here: bad."
    assert conclusion([good], awaited=["c"]) == "The claim holds so far; still to run: c."
    assert conclusion([bad], awaited=["c"]) == "The claim does not hold here: bad."
