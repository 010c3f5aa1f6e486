"""What growth costs in a bound of the loss: the bound, its parts, and the printed cost."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import jbatch
from jbatch.errors import Mistake
from jbatch.plan.growth_cost import Gradients, assumed, growth_cost, weights
from jbatch.plan.quadratic import CURVATURES

TINY = Path(__file__).parents[1] / "tiny.py"


def random_rates(rng, updates=60):
    """Rates of any shape below 1/(the largest curvature), some of them 0."""
    rates = rng.uniform(0, 1, updates) * rng.choice([0.01, 0.1, 1.0], updates)
    rates[rng.uniform(size=updates) < 0.1] = 0.0
    return rates


def test_the_sum_over_updates_is_the_double_sum_that_it_telescopes():
    """Σₖ εₖ/(Sₖ Sₖ₊₁) Σ_{t ≥ k} εₜ²|gₜ|² and its first term, as the lemma gives them."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        rates = random_rates(rng)
        rates = rates[rates > 0]
        squares = rng.uniform(0, 1, len(rates))
        left = np.cumsum(rates[::-1])[::-1]
        lemma = (rates**2 * squares).sum() / left[0]
        for k in range(len(rates) - 1):
            lemma += rates[k] / (left[k] * left[k + 1]) * (rates[k:] ** 2 * squares[k:]).sum()
        # Some thousand positive terms in float64.
        assert (weights(rates) * squares).sum() == pytest.approx(lemma, rel=1e-9)


def test_the_bound_holds_on_the_noisy_quadratic():
    """The exact loss before the last update against D²/(2R₀) + ½ Σ ε²/R · E|g|²."""
    rng = np.random.default_rng(1)
    closest = math.inf
    for _ in range(50):
        rates, variance = random_rates(rng), rng.choice([0.01, 1.0, 100.0])
        sizes = rng.integers(1, 100, len(rates))
        moments, squares, loss = np.ones(len(CURVATURES)), [], 0.0
        for rate, size in zip(rates, sizes, strict=True):
            if rate:  # the last of these updates is the bound's last
                loss = (CURVATURES * moments).sum() / 2
            noise = CURVATURES * variance / size
            squares.append((CURVATURES**2 * moments + noise).sum())
            moments = (1 - rate * CURVATURES) ** 2 * moments + rate**2 * noise
        bound = len(CURVATURES) / (2 * rates.sum()) + (weights(rates) * squares).sum() / 2
        assert loss <= bound
        closest = min(closest, bound / loss)
    assert closest < 20  # and it says something


SCHEDULE = {"num_examples": 1000, "num_epochs": 12, "batch_size": 10}


def steps(epoch):
    return 0.2 ** (epoch // 4)


def test_the_cost_is_what_smaller_batches_at_the_same_rates_per_example_leave():
    plan = jbatch.couple(steps, **SCHEDULE, growth_factor=5)
    assert [phase.batch_size for phase in plan.phases] == [10, 50, 250]
    found = growth_cost(plan, 10, assumed(400))
    made = weights(plan.learning_rates.astype(float)) / plan.batch_sizes  # of trΣ
    noise = [(made * (1 + sizes / 400)).sum() for sizes in (plan.batch_sizes, 10)]
    assert found.bound == pytest.approx(noise[0] / noise[1] - 1, rel=1e-12)
    assert found.phases[0].bound == 0
    assert found.phases[1].bound > 0
    assert found.saved == 1200 - plan.num_updates
    assert [cost.saved for cost in found.phases] == [0, 320, 384]
    # A noise scale ten times as large makes growth ten times as cheap, but for 10/B of it.
    assert growth_cost(plan, 10, assumed(4000)).bound == pytest.approx(
        found.bound / 10 * (1 + 10 / 400) / (1 + 10 / 4000), rel=1e-6
    )


def test_an_epochs_remainder_takes_no_update():
    plan = jbatch.couple(steps, **SCHEDULE | {"num_examples": 1007}, growth_factor=5)
    decaying = jbatch.couple(steps, **SCHEDULE | {"num_examples": 1007})
    assert growth_cost(plan, 10, assumed(1)).saved == decaying.num_updates - plan.num_updates


def test_measured_gradients_count_where_they_were_measured():
    plan = jbatch.couple(steps, **SCHEDULE, growth_factor=5)
    same = Gradients(np.array([0, 6000]), np.array([2.0, 2.0]), np.array([800.0, 800.0]))
    assert growth_cost(plan, 10, same).bound == pytest.approx(
        growth_cost(plan, 10, assumed(400)).bound
    )
    later = Gradients(np.array([3999, 4000]), np.array([2.0, 0.0]), np.array([800.0, 800.0]))
    assert growth_cost(plan, 10, later).bound == 0  # without a gradient no batch is too large


def test_another_scaling_is_refused():
    plan = jbatch.couple(steps, **SCHEDULE, growth_factor=5, scaling=0.5)
    with pytest.raises(Mistake, match=r"this plan has 0\.5: --predict compares"):
        growth_cost(plan, 10, assumed(400))


def test_the_command_prints_it(jbatch):
    code, out, _ = jbatch("plan", TINY, "growing", "--noise-scale", "1000", "--predict")
    assert code == 0
    assert "Growth at a gradient noise scale of 1,000 examples, against batch 40" in out
    assert "\nNoisy quadratic: the final loss is " in out
    code, out, _ = jbatch("plan", TINY, "growing", "--noise-scale", "1000", "--predict", "--json")
    values = json.loads(out)
    assert [phase["updates_saved"] for phase in values["growth_cost"]["phases"]] == [0, 50]
    assert values["growth_cost"]["loss_bound"] > 0
    assert 0.9 < values["predicted"]["loss_ratio"] < 1.1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--noise-scale", "0"), "--noise-scale is 0.0: give a number of examples over 0"),
        (("--noise-scale", "5", "--noise-from", "here"), "both give a noise scale: give one"),
        (("--noise-from", "nowhere"), "nowhere has no measured noise scale: give the directory"),
    ],
)
def test_a_mistake_is_one_message(jbatch, flags, said):
    code, out, err = jbatch("plan", TINY, "growing", *flags)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err
