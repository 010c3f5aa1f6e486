"""The noisy quadratic: exact, and what it says of plans that grow."""

import math

import numpy as np
import pytest

import jbatch
from jbatch.errors import Mistake
from jbatch.plan.quadratic import CURVATURES, final_loss, predicted, tuned, variance_of

EXAMPLES = 4000
RUN = {"unit": "examples", "length": EXAMPLES, "batch_size": 1}
GROWN = {"batch_multiple": 1, "max_batch_size": 64}


def schedules(rng):
    """50 schedules of examples: cosines, powers of what is left, and falling steps."""
    for number in range(50):
        if number % 3 == 0:
            floor = rng.uniform(0, 0.1)
            yield lambda x, f=floor: f + (1 - f) * (1 + math.cos(math.pi * x / EXAMPLES)) / 2
        elif number % 3 == 1:
            power = rng.uniform(1, 3)
            yield lambda x, p=power: (1 - x / EXAMPLES) ** p
        else:
            places, factor = np.sort(rng.uniform(0.2, 0.95, 3)) * EXAMPLES, rng.uniform(0.1, 0.6)
            yield lambda x, p=places, f=factor: f ** int(np.searchsorted(p, x))


def by_hand(rates, sizes, variance):
    """The recursion as it is written."""
    moments = np.ones(len(CURVATURES))
    for rate, size in zip(rates, sizes, strict=True):
        moments = (1 - rate * CURVATURES) ** 2 * moments + rate**2 * CURVATURES * variance / size
    return (CURVATURES * moments).sum() / 2


def test_the_loss_is_that_of_the_recursion():
    rng = np.random.default_rng(0)
    rates, sizes = rng.uniform(0, 1.9, 500), rng.integers(1, 50, 500)
    # Sums of some hundred positive terms in float64.
    assert final_loss(rates, sizes, 3.0) == pytest.approx(by_hand(rates, sizes, 3.0), rel=1e-10)
    assert final_loss([3.0] * 2000, [1] * 2000, 1.0) == math.inf


def test_a_simulation_agrees_with_the_recursion():
    """Runs of SGD whose gradients are drawn example by example."""
    rng, runs, variance = np.random.default_rng(1), 4000, 2.0
    curvatures = CURVATURES[:8]
    rates, sizes = np.linspace(0.8, 0.1, 40), np.repeat([1, 4, 8], [20, 10, 10])
    away = np.ones((runs, len(curvatures)))
    moments = np.ones(len(curvatures))
    for rate, size in zip(rates, sizes, strict=True):
        noise = rng.normal(size=(runs, size, len(curvatures))) * np.sqrt(curvatures * variance)
        away = away - rate * (curvatures * away + noise.mean(1))
        moments = (1 - rate * curvatures) ** 2 * moments + rate**2 * curvatures * variance / size
    losses = (curvatures * away**2).sum(1) / 2
    error = losses.std() / math.sqrt(runs)
    assert abs(losses.mean() - (curvatures * moments).sum() / 2) < 4 * error
    assert error < 0.02 * losses.mean()


def test_the_factor_is_the_one_that_a_fine_search_finds():
    plan = jbatch.couple(lambda x: 1 - x / EXAMPLES, **RUN)
    variance = variance_of(10)
    factor = tuned(plan.learning_rates, plan.batch_sizes, variance)

    def loss(factor):
        return final_loss(factor * plan.learning_rates.astype(float), plan.batch_sizes, variance)

    least = min(loss(each) for each in np.geomspace(factor / 3, factor * 3, 41))
    assert loss(factor) <= 1.001 * least


@pytest.mark.slow
def test_plans_of_fifty_schedules_end_where_their_schedules_do():
    """Half the updates and the loss of the schedule, where ε/B is kept; elsewhere neither."""
    variance = variance_of(10)  # noise as large as the gradient of a batch of ten, at first
    kept, saved, others = [], [], []
    for schedule in schedules(np.random.default_rng(2)):
        plans = [
            jbatch.couple(schedule, **RUN),
            jbatch.couple(schedule, **RUN, **GROWN),
            jbatch.couple(schedule, **RUN, **GROWN, scaling=0),
        ]
        factor = tuned(plans[0].learning_rates, plans[0].batch_sizes, variance)
        decaying, grown, unscaled = (
            final_loss(factor * plan.learning_rates.astype(float), plan.batch_sizes, variance)
            for plan in plans
        )
        kept.append(grown / decaying)
        others.append(unscaled / decaying)
        saved.append(1 - plans[1].num_updates / plans[0].num_updates)
    assert np.mean(saved) > 0.4
    assert min(kept) > 0.98
    assert max(kept) < 1.03
    assert max(others) > 1.5


def test_a_plan_that_does_not_grow_is_its_twin():
    decaying = jbatch.couple(lambda x: 1 - x / EXAMPLES, **RUN)
    assert predicted(decaying, decaying, 5) == 1


def test_a_plan_too_long_is_refused():
    plan = jbatch.couple(lambda _: 0.1, unit="examples", length=2e6, batch_size=1)
    with pytest.raises(Mistake, match="there are 2,000,000: give a plan of at most 1,000,000"):
        predicted(plan, plan, 5)
