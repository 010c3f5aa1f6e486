"""A layer's product and GELU: against float64, and under JAX's transformations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jbatch
from jbatch.models import dense
from jbatch.models.bilinear import Maps, primitives
from jbatch.models.gelu import gelu

UNIT = 2.0**-24  # half of a float32's last digit
LAST = (((1,), (0,)), ((), ()))
RNG = np.random.default_rng(0)
X, KERNEL = (RNG.normal(size=shape).astype(np.float32) for shape in ((24, 6), (6, 10)))


def loss(product, kernel, x):
    """Not linear in either, so that second derivatives are none of zero."""
    return (jnp.tanh(product(x, kernel, (((x.ndim - 1,), (0,)), ((), ()))))).sum()


def assert_same(found, expected):
    # Both round sums of at most 24 terms of size 1 or so, in other orders.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), found, expected)


@pytest.mark.parametrize("x", [X[:4], X[:4].reshape(2, 2, 6), np.tile(X[:4], 8).reshape(2, 2, 48)])
@pytest.mark.parametrize("wide", [3, 30, 40])
def test_gradients_are_those_of_a_product(x, wide):
    """Whichever array is transposed, if any."""
    kernel = np.linspace(-1, 1, x.shape[-1] * wide, dtype=np.float32).reshape(-1, wide) / 4
    for of in (
        lambda product: jax.value_and_grad(lambda *a: loss(product, *a), (0, 1)),
        lambda product: jax.hessian(lambda *a: loss(product, *a), (0, 1)),
    ):
        found, expected = (jax.jit(of(each)) for each in (jbatch.dot_general, jax.lax.dot_general))
        assert_same(found(kernel, x), expected(kernel, x))


def test_mapped_examples_are_one_product():
    """The gradient of a mapped score sees all rows at once, as the open task needs."""
    rows = X.reshape(2, 3, 4, 6)  # groups, examples, tokens

    def total(product, kernel):
        return jax.vmap(jax.vmap(lambda x: loss(product, kernel, x)))(rows).sum()

    def gradient(product):
        return jax.grad(lambda kernel: total(product, kernel))

    equations = jax.make_jaxpr(gradient(jbatch.dot_general))(KERNEL).eqns
    by_kernel = [each for each in equations if each.primitive is dense.PRODUCTS[2]]
    assert [each.invars[0].aval.shape for each in by_kernel] == [X.shape]
    assert_same(gradient(jbatch.dot_general)(KERNEL), gradient(jax.lax.dot_general)(KERNEL))
    # And where a network sees an example as its features alone.
    each = jax.vmap(lambda x: jbatch.dot_general(x, KERNEL, (((0,), (0,)), ((), ()))))
    assert "dense" in str(jax.make_jaxpr(each)(rows[0, 0]))
    assert_same(each(rows[0, 0]), rows[0, 0] @ KERNEL)
    kernels = jnp.stack([KERNEL, 2 * KERNEL])  # mapped kernels are left to JAX
    found = jax.vmap(lambda kernel: jbatch.dot_general(X, kernel, LAST))(kernels)
    assert_same(found, jnp.stack([X @ KERNEL, X @ (2 * KERNEL)]))


def test_other_products_are_jaxs_own():
    for x, kernel, numbers, options in (
        (X, KERNEL.T, (((1,), (1,)), ((), ())), {}),
        (X, KERNEL, LAST, {"preferred_element_type": jnp.bfloat16}),
        (X, KERNEL, LAST, {"precision": "highest"}),
    ):
        arguments = (x, kernel, numbers)
        written = jax.make_jaxpr(lambda *a, n=numbers, o=options: jbatch.dot_general(*a, n, **o))
        assert "dense" not in str(written(x, kernel))
        found = jbatch.dot_general(*arguments, **options)
        assert_same(found, jax.lax.dot_general(*arguments, **options))


def test_outside_of_jit_it_is_compiled_once():
    traced = []

    def multiply(x, kernel):
        traced.append(x.shape)
        return x @ kernel

    maps = Maps(multiply, multiply, multiply)
    layer, _, _ = primitives("counted", maps, maps)
    layer.bind(X, KERNEL)
    once = len(traced)
    layer.bind(X, KERNEL)
    assert len(traced) == once


def test_no_columns_give_zeros():
    found = jbatch.dot_general(np.ones((3, 0), np.float32), np.ones((0, 4), np.float32), LAST)
    np.testing.assert_array_equal(found, np.zeros((3, 4)))


def test_a_precision_that_is_set_is_that_of_all_three_maps():
    with jax.default_matmul_precision("highest"):
        written = jax.make_jaxpr(jax.grad(lambda kernel: loss(jbatch.dot_general, kernel, X)))
        equations = written(KERNEL).eqns
    told = [each.params["precision"] for each in equations if each.primitive in dense.PRODUCTS]
    assert told == 2 * ["highest"]


def test_a_stock_layer_takes_it():
    stock, ours = (
        nnx.Linear(6, 10, rngs=nnx.Rngs(0), **options)
        for options in ({}, {"dot_general": jbatch.dot_general})
    )
    assert_same(ours(X), stock(X))


def test_gelu_and_its_derivative_are_exact():
    x = np.linspace(-9, 9, 1801, dtype=np.float32)
    exactly = np.array([0.5 * (1 + math.erf(each / math.sqrt(2))) for each in x.tolist()])
    slope = exactly + x * np.exp(-0.5 * x.astype(np.float64) ** 2) / math.sqrt(2 * math.pi)
    # erf is within 4 units; Φ and then x · Φ round once more.
    limit = 8 * UNIT * np.maximum(np.abs(x), 1)
    assert (np.abs(jax.jit(gelu)(x) - x * exactly) <= limit).all()
    assert (np.abs(jax.jit(jax.vmap(jax.grad(gelu)))(x) - slope) <= limit).all()


def test_gelu_of_bfloat16_is_rounded_once():
    """By 1 + erf in bfloat16 the values at −3 would be wrong by half of themselves."""
    x = jnp.linspace(-4, 4, 801, dtype=jnp.bfloat16)
    for of in (gelu, jax.vmap(jax.grad(gelu))):
        found, expected = jax.jit(of)(x), of(x.astype(jnp.float32))
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=2.0**-8, atol=2.0**-20)
