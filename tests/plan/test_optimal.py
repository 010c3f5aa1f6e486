"""B ∝ ε/√R: the batch that suits a rate best."""

import math

import numpy as np
import pytest

import jbatch
from jbatch.errors import Mistake
from jbatch.plan.quadratic import final_loss, tuned, variance_of

EXAMPLES = 40_000
OPTIMAL = {"growth_rule": "optimal", "scaling": 0.0, "batch_multiple": 1}


def couple(schedule, size=10, **more):
    return jbatch.couple(schedule, unit="examples", length=EXAMPLES, batch_size=size, **more)


def test_a_constant_rate_grows_as_the_root_of_the_updates_left():
    plan = couple(lambda _: 0.1, **OPTIMAL, max_batch_size=4000)
    updates = np.arange(plan.num_updates)
    early = updates < 0.9 * plan.num_updates
    expected = 10 / np.sqrt(1 - updates[early] / plan.num_updates)
    assert plan.num_updates == pytest.approx(EXAMPLES / 10 / 2, rel=0.05)
    np.testing.assert_allclose(plan.batch_sizes[early], expected, rtol=0.11)  # whole sizes
    assert set(plan.learning_rates.tolist()) == {np.float32(0.1)}


def test_the_size_is_the_rate_over_the_root_of_the_rates_to_come():
    """By the definition, from the plan's own rows."""
    plan = couple(lambda x: 0.1 * math.exp(-x / EXAMPLES), size=100, **OPTIMAL, max_batch_size=3000)
    rates = plan.learning_rates.astype(float)
    to_come = np.cumsum(rates[::-1])[::-1]
    wanted = rates / np.sqrt(to_come)
    early = plan.batch_sizes < 200  # the last updates are too few for an integral
    ratio = (plan.batch_sizes / wanted)[early]
    assert ratio.max() / ratio.min() < 1.06


def test_linear_decay_keeps_its_batch():
    plan = couple(lambda x: 0.1 * (1 - x / EXAMPLES), **OPTIMAL)
    assert [phase.batch_size for phase in plan.phases] == [10]


def best(rates, sizes, variance):
    rates = np.asarray(rates, float)
    return final_loss(tuned(rates, sizes, variance) * rates, sizes, variance)


def test_growth_is_worth_a_decay_of_the_rate_on_the_noisy_quadratic():
    """Equal updates and data, each at the rate that suits it best."""
    variance = variance_of(3)
    plan = jbatch.couple(
        lambda _: 1.0, unit="examples", length=EXAMPLES / 10, batch_size=2, **OPTIMAL
    )
    updates = plan.num_updates
    same = np.full(updates, plan.batch_sizes.mean())
    grown = best(np.ones(updates), plan.batch_sizes, variance)
    constant = best(np.ones(updates), same, variance)
    linear = best(1 - np.arange(updates) / updates, same, variance)
    assert 0.3 < grown / constant < 0.6
    assert grown / linear == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"growth_rule": "best"}, "growth_rule is 'best': give paper or optimal"),
        ({"growth_rule": "optimal", "growth_factor": 2}, "scaling is 1: .*; give scaling=0"),
        (OPTIMAL | {"growth": 0.5}, "growth is 0.5: .*; leave it at 1"),
        ({"growth_rule": "optimal", "scaling": 0.0}, "give growth_factor, batch_sizes or"),
        (
            {"growth_rule": "optimal", "scaling": 0.0, "ramp": {0: 10, 100: 20}},
            "batch_multiple, and no ramp",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(given, said):
    with pytest.raises(Mistake, match=said):
        couple(lambda _: 0.1, **given)
