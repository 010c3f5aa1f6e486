"""How many more seeds would decide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbatch.experiment.comparison import ACCURACY
from jbatch.report.more_seeds import chance_to_decide, more_seeds_text, pairs_to_decide
from jbatch.report.runs import Finding, interval_of


def finding(differences, margin=0.5, diverged=0):
    values = np.array(differences, float)
    interval = interval_of(values) if len(values) > 1 else None
    mean = float(values.mean())
    return Finding("b", "a", False, ACCURACY, values, mean, interval, margin, diverged)


@pytest.mark.parametrize(
    ("mean", "deviation", "pairs"), [(0.0, 1.0, 14), (0.3, 0.4, 6), (1.5, 0.5, 8), (-1.5, 0.5, 14)]
)
def test_the_chance_is_that_of_drawn_seeds(mean, deviation, pairs):
    """Of 1,000 draws the share is known to 1.3%; three times that."""
    drawn = np.random.default_rng(0).normal(mean, deviation, (1_000, pairs))
    verdicts = [finding(each, margin=1.0).verdict != "undecided" for each in drawn]
    chance = chance_to_decide(np.array([pairs]), mean, deviation, 1.0)[0]
    assert chance == pytest.approx(np.mean(verdicts), abs=0.04)


@settings(max_examples=20)
@given(st.floats(-3, 3), st.floats(0.01, 2), st.floats(0.1, 2), st.integers(2, 30))
def test_the_fewest_that_are_likely_enough(mean, deviation, margin, seen):
    pairs = pairs_to_decide(seen, mean, deviation, margin)
    if pairs is None:
        assert chance_to_decide(np.array([1000]), mean, deviation, margin)[0] < 0.8
        return
    assert pairs > seen
    fewer, enough = chance_to_decide(np.array([max(pairs - 1, 3), pairs]), mean, deviation, margin)
    assert enough >= 0.8
    assert fewer < 0.8 or pairs - 1 <= max(seen, 3)
    # The sign of a difference does not matter, nor the unit.
    assert pairs_to_decide(seen, -mean, deviation, margin) == pairs
    doubled = pairs_to_decide(seen, 2 * mean, 2 * deviation, 2 * margin)
    assert doubled == pytest.approx(pairs, abs=1)


def test_what_is_said():
    assert more_seeds_text(finding([0.4, -0.4, 0.2])) == (
        "b: about 7 more seeds, 10 in all, would decide it with a probability of 80%: an "
        "estimate, as if the mean and the deviation of the 3 differences seen were the true ones."
    )
    near = more_seeds_text(finding([0.51, 0.49, 0.5]))
    assert near.startswith("b: 1,000 seeds would hardly decide it (an estimate)")


@pytest.mark.parametrize(
    "decided",
    [finding([0.1, 0.0, -0.1]), finding([0.4]), finding([0.4, 0.4]), finding([1, -1], diverged=1)],
    ids=["decided", "one seed", "alike", "diverged"],
)
def test_nothing_is_said_where_seeds_cannot_tell(decided):
    assert more_seeds_text(decided) == ""
