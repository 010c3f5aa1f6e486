"""Adam's averages under decays that change."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jbatch
from jbatch import LAMB, Adam, AdamW
from jbatch.moments import scale_by_adam

pytestmark = pytest.mark.usefixtures("standard_promotion")  # as in an update; optax mixes dtypes
PARAMS = {"w": jnp.array([1.0, -2.0, 0.5])}
decays = st.lists(st.tuples(st.floats(0, 0.99), st.floats(0, 0.999)), min_size=1, max_size=12)


@jax.jit
def one(gradient, state, b1, b2, eps):
    return scale_by_adam(b1, b2, eps).update(gradient, state)


def steps(gradients, pairs, eps=1e-3):
    """The steps of the transformation, each with decays of its own."""
    array = jnp.float32
    state, found = scale_by_adam(array(0), array(0), array(0)).init(PARAMS), []
    for gradient, (b1, b2) in zip(gradients, pairs, strict=True):
        step, state = one({"w": jnp.float32(gradient)}, state, array(b1), array(b2), array(eps))
        found.append(step["w"])
    return np.array(found)


@given(decays)
def test_a_constant_gradient_has_no_bias_however_the_decays_change(pairs):
    gradient = np.array([3.0, -0.2, 0.01], np.float32)
    found = steps([gradient] * len(pairs), pairs)
    # A sum of up to 12 roundings, and its root.
    np.testing.assert_allclose(found, [gradient / (abs(gradient) + 1e-3)] * len(pairs), rtol=1e-5)


@given(decays, st.integers(0, 9))
def test_the_averages_are_those_of_all_gradients_with_their_weights(pairs, seed):
    gradients = np.random.default_rng(seed).normal(size=(len(pairs), 3)).astype(np.float32)
    exact = np.array(pairs)
    for number, found in enumerate(steps(gradients, pairs), 1):
        averages = []
        for which, values in enumerate((gradients, gradients**2)):
            later = np.append(np.cumprod(exact[:number, which][::-1])[::-1][1:], 1)
            weights = (1 - exact[:number, which]) * later
            averages.append(weights @ values[:number].astype(float) / weights.sum())
        expected = averages[0] / (np.sqrt(averages[1]) + 1e-3)
        # A mean may cancel: float32's rounding of its parts, over the root of their squares.
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", [Adam(weight_decay=0.1), AdamW(), LAMB()])
def test_constant_values_take_optaxs_steps(optimizer):
    """Told what they are anyway, optimizers do the same."""
    told = {"b2": jnp.float32(optimizer.b2), "eps": jnp.float32(optimizer.eps)}
    if not isinstance(optimizer, Adam):
        told["weight_decay"] = jnp.float32(optimizer.weight_decay)
    bare, held = optimizer(0.1, 0.9), optimizer(0.1, jnp.float32(0.9), **told)
    params, states = [PARAMS, PARAMS], [bare.init(PARAMS), held.init(PARAMS)]
    for number in range(30):
        gradient = {"w": jnp.sin(number + PARAMS["w"])}
        for which, transformation in enumerate((bare, held)):
            step, states[which] = transformation.update(gradient, states[which], params[which])
            params[which] = optax.apply_updates(params[which], step)
    # β2 = .999 in float32 leaves 1 − β2 with 3e-5 of rounding; 30 steps of 0.1 each.
    np.testing.assert_allclose(params[1]["w"], params[0]["w"], atol=2e-4)


@settings(max_examples=15)
@given(st.integers(2, 40), st.floats(0.98, 0.999), st.integers(0, 9))
def test_with_noise_alone_malladis_adam_is_sgd_with_linear_scaling(kappa, b1, seed):
    """SGD's twin: gradients ±s/√B have v = s²/B, so Adam's step is a rate times the average.

    That rate is κ times as large at κB, with ε·√κ and Adam's ε/√κ.
    """
    size, noise = 4, 0.3
    plan = jbatch.couple(
        lambda _: 0.01, unit="examples", length=1000.0, batch_size=size * kappa,
        base_batch_size=size, momentum=b1, b2=0.99, eps=1e-3, hold="malladi",
    )  # fmt: skip
    row = plan.at(0)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(8, 3))
    gradients = signs * noise / row.batch_size**0.5
    found = row.learning_rate * steps(gradients, [(row.momentum, row.b2)] * 8, row.eps)
    rate = kappa * 0.01 / (noise / size**0.5 + 1e-3)  # of SGD, κ times that at the base batch
    average = weight = 0.0
    for step, gradient in zip(found, gradients, strict=True):
        average = row.momentum * average + (1 - row.momentum) * gradient
        weight = row.momentum * weight + 1 - row.momentum
        np.testing.assert_allclose(step, rate * average / weight, rtol=1e-3, atol=1e-5)
