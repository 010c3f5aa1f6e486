"""What follows the batch, against the recursions of an optimizer's first and second moments."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jbatch
from jbatch import Hold
from jbatch.errors import Mistake
from jbatch.plan.saved import plan_bytes, plan_from

# Float64 throughout: the tolerances allow for a few hundred roundings of 1e-16.
EXACT = 1e-9
OWN = {"momentum": 0.99, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.1}


def constant(_):
    return 1e-3


def grown(sizes, *, updates=40, **options):
    """A plan at a constant rate of so many updates at each size, in a stream."""
    starts = np.cumsum([0, *(updates * size for size in sizes)])
    return jbatch.couple(
        constant,
        unit="examples",
        length=float(starts[-1]),
        ramp=dict(zip(starts[:-1].tolist(), sizes, strict=True)),
        allow_shrink=True,
        **OWN | options,
    )


sizes = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True)


@given(sizes, st.floats(0.5, 0.99999), st.integers(1, 64), st.sampled_from([0.0, 0.5, 1.0]))
def test_half_lives_are_kept_in_examples(sizes, decay, base, scaling):
    """However the batch goes, what is left of a gradient after n examples is β^(n/base)."""
    plan = grown(
        sizes,
        updates=5,
        hold=Hold(momentum="half_life", b2="half_life"),
        momentum=decay,
        b2=decay,
        base_batch_size=base,
        scaling=scaling,
    )
    for name in ("momentum", "b2"):
        left = np.cumsum([math.log(getattr(row, name)) for row in plan])
        seen = plan.positions + plan.batch_sizes
        np.testing.assert_allclose(left, seen / base * math.log(decay), rtol=EXACT)


def second_moments(plan, start):
    """E[v] after each update, where a gradient is noise of variance 1/B."""
    found = [start]
    for row in plan:
        found.append(row.b2 * found[-1] + (1 - row.b2) / row.batch_size)
    return np.array(found[1:])


@given(st.integers(1, 40), st.integers(41, 80), st.booleans(), st.floats(0.5, 0.999))
def test_the_second_moment_moves_with_the_examples_seen(small, large, shrinks, b2):
    """E[v] goes from 1/B0 to 1/B1 as β2^(examples/B0), at a half-life held."""
    before, after = (large, small) if shrinks else (small, large)
    plan = grown((before, after), b2=b2, hold=Hold(b2="half_life"))
    found = second_moments(plan, 1 / before)
    seen = np.maximum(plan.positions + plan.batch_sizes - plan.phases[0].updates * before, 0)
    share = b2 ** (seen / before)
    np.testing.assert_allclose(found, share / before + (1 - share) / after, rtol=EXACT)


@given(st.integers(1, 40), st.integers(2, 16), st.floats(0.95, 0.999))
def test_without_it_the_second_moment_lags_as_many_updates_as_before(before, kappa, b2):
    """The negative control: after n examples, the κ-th root of the share is left to go."""
    plan = grown((before, kappa * before), b2=b2)
    first = plan.phases[0].updates
    left = second_moments(plan, 1 / before)[first:] - 1 / (kappa * before)
    expected = (1 / before - 1 / (kappa * before)) * b2 ** np.arange(1, len(left) + 1)
    np.testing.assert_allclose(left, expected, rtol=1e-6, atol=1e-12)  # a difference of near values


def variance_of_mean(decay, of_gradient):
    """The steady variance of m ← βm + (1−β)g, by its recursion run to the end."""
    found = 0.0
    for _ in range(math.ceil(40 / -math.log(decay * decay))):
        found = decay * decay * found + (1 - decay) ** 2 * of_gradient
    return found


@given(st.floats(0.8, 0.99), st.integers(2, 8), st.sampled_from(["half_life", "malladi"]))
def test_the_first_moment_is_as_noisy_after_the_batch_has_grown(momentum, kappa, rule):
    """Steady variance (1−β)/(1+β) · 1/B, to first order in κ(1−β) the same at κB."""
    if rule == "malladi" and kappa * (1 - momentum) > 0.9:
        kappa = 2
    plan = grown((3, 3 * kappa), momentum=momentum, hold=Hold(momentum=rule))
    first, last = plan.at(0), plan.at(len(plan) - 1)
    before, after = (variance_of_mean(row.momentum, 1 / row.batch_size) for row in (first, last))
    assert before == pytest.approx((1 - momentum) / (1 + momentum) / 3, rel=EXACT)
    if rule == "malladi":
        expected = (1 + momentum) / (2 - kappa * (1 - momentum))
    else:  # tanh(κx)/(κ·tanh x), x half the logarithm of 1/β
        half = -math.log(momentum) / 2
        expected = math.tanh(kappa * half) / (kappa * math.tanh(half))
    assert after / before == pytest.approx(expected, rel=EXACT)
    assert abs(after / before - 1) < kappa * (1 - momentum)


@given(sizes, st.integers(1, 64))
def test_malladis_rule_is_that_of_the_paper(sizes, base):
    """ε ∝ √κ, 1−β ∝ κ, Adam's ε ∝ 1/√κ; and the weight decay per example stays."""
    plan = grown(sizes, updates=3, hold="malladi", base_batch_size=base)
    assert plan.scaling == 0.5
    for row in plan:
        kappa = row.batch_size / base
        assert row.learning_rate == pytest.approx(1e-3 * kappa**0.5, rel=1e-6)  # float32
        assert 1 - row.momentum == pytest.approx(0.01 * kappa, rel=EXACT)
        assert 1 - row.b2 == pytest.approx(0.001 * kappa, rel=EXACT)
        assert row.eps == pytest.approx(1e-8 / kappa**0.5, rel=EXACT)


@given(sizes, st.integers(1, 64), st.floats(0, 1))
def test_weight_decay_takes_as_much_of_an_example(sizes, base, scaling):
    """B/(ελ) is the same at every size and for every scaling."""
    plan = grown(
        sizes, updates=3, hold=Hold(weight_decay="time_scale"), base_batch_size=base,
        scaling=scaling,
    )  # fmt: skip
    for row in plan:
        scale = row.batch_size / (row.learning_rate * row.weight_decay)
        assert scale == pytest.approx(base / (1e-3 * 0.1), rel=1e-6)  # the rate is float32


def moments(plan, curvature, noise):
    """E[w²] after each update of Adam on curvature·w²/2, and E[v] in the place of v.

    The gradient is curvature·w + noise/√B · ξ, and the noise is so much larger that v is its
    variance. The second moments of (w, m) then have a linear recursion.
    """
    covariance, square, found = np.zeros((2, 2)), noise**2 / plan.batch_sizes[0], []
    for row in plan:
        variance = noise**2 / row.batch_size
        square = row.b2 * square + (1 - row.b2) * variance
        new, rate = 1 - row.momentum, row.learning_rate / (math.sqrt(square) + row.eps)
        to_m = np.array([new * curvature, row.momentum])
        step = np.array([[1, 0] - rate * to_m, to_m])
        kick = new * np.array([-rate, 1])
        covariance = step @ covariance @ step.T + np.outer(kick, kick) * variance
        found.append(covariance[0, 0])
    return np.array(found)


def around_growth(kappa, slow, **options):
    """E[w²] (at the end of the base batch, at the end of κ times that) near its steady state.

    All of Adam's averages are `slow` times slower than the fastest that the test looks at.
    """
    own = {"momentum": 1 - 0.02 / slow, "b2": 1 - 0.01 / slow, "eps": 1e-3}
    plan = grown((4, 4 * kappa), updates=int(3000 * slow), **own | options)
    found = moments(plan, curvature=10 / slow, noise=1.0)
    return found[plan.phases[0].updates - 1], found[-1]


def test_malladi_keeps_the_spread_of_the_parameters_over_a_growth():
    """Up to second order: at half the rates, a quarter of the deviation. p = 1 does not."""
    deviations = []
    for slow in (1, 2, 4):
        before, after = around_growth(8, slow, hold="malladi")
        deviations.append(abs(after / before - 1))
    assert deviations[0] < 0.1
    for coarse, fine in itertools.pairwise(deviations):
        assert fine / coarse == pytest.approx(0.25, rel=0.15)  # third order is left
    before, after = around_growth(8, 1, scaling=1.0)
    assert after / before == pytest.approx(8**0.5, rel=0.1)  # rate · √B over B grows as √κ


@given(st.integers(1, 12), st.floats(0.3, 0.95), st.integers(1, 5))
def test_gradients_that_agree_move_the_averages_of_a_larger_batch_alike(kappa, decay, blocks):
    """SGD's twin: κ updates with one gradient leave the average that one update at κB leaves."""
    plan = grown((2, 2 * kappa) if kappa > 1 else (2,), momentum=decay, hold=Hold("half_life"))
    large = plan.at(len(plan) - 1).momentum
    small_average = large_average = 0.0
    for gradient in np.random.default_rng(kappa).normal(size=blocks):
        for _ in range(kappa):
            small_average = decay * small_average + (1 - decay) * gradient
        large_average = large * large_average + (1 - large) * gradient
        assert large_average == pytest.approx(small_average, rel=EXACT, abs=1e-15)


def test_nothing_follows_unless_asked():
    plan = grown((2, 8))
    bare = grown((2, 8), b2=None, eps=None, weight_decay=None)
    assert {(row.momentum, row.b2, row.eps, row.weight_decay) for row in plan} == {
        (0.99, 0.999, 1e-8, 0.1)
    }
    assert bare.at(0).b2 is None
    assert plan.digest == bare.digest == grown((2, 8), hold="smith").digest
    assert "following" not in str(plan).lower()
    assert "b2" not in json.loads(bare.to_json())["phases"][0]


@pytest.mark.parametrize("hold", ["seesaw", "malladi", "half_life", Hold(momentum="half_life")])
def test_a_saved_plan_is_the_plan(hold):
    plan = grown((2, 8), hold=hold)
    again = plan_from(plan_bytes(plan))
    assert list(again) == list(plan)
    assert again.digest == plan.digest != grown((2, 8), scaling=plan.scaling).digest
    assert str(again) == str(plan)
    phases = json.loads(plan.to_json())["phases"]
    last = plan.at(len(plan) - 1)
    for name in ("momentum", "b2", "eps", "weight_decay"):
        assert phases[-1][name] == getattr(last, name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hold": "maladi"}, "give one of smith, seesaw.*did you mean malladi"),
        ({"hold": 0.5}, "hold is 0.5: give one of smith"),
        ({"hold": "malladi", "scaling": 1.0}, r"follows the batch as B\^0.5, but scaling is 1.0"),
        ({"hold": "smith", "scaling": 0.5}, r"B\^1, but scaling is 0.5: leave scaling out"),
        ({"hold": "half_life", "b2": None}, r"makes b2 follow .* give couple\(…, b2=0.95\)"),
        (
            {"hold": "malladi", "b2": None, "eps": None},
            r"b2 and eps follow the batch.*b2=0.95, eps=1e-8",
        ),
        ({"hold": Hold("half_life"), "momentum": 0.0}, "but momentum is 0: give it"),
        (
            {"hold": "malladi", "momentum": 0.7},
            r"at batch 8 it would be 1 − \(1 − 0.7\) · 8/2 = -0.2, below 0: give .* at most 6,",
        ),
        ({"b2": 1.0}, "b2 is 1.0: give at least 0 and less than 1"),
        ({"eps": 0.0}, "eps is 0.0: give a value over 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0: give at least 0"),
    ],
)
def test_what_cannot_follow_is_refused(options, said):
    with pytest.raises(Mistake, match=said):
        grown((2, 8), **options)


def test_a_rule_that_is_not_known_is_refused():
    with pytest.raises(Mistake, match=r"hold.eps is 'half_life': give malladi, or None"):
        Hold(eps="half_life")
