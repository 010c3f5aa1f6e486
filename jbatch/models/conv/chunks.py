"""Loops over chunks of a batch, small enough that all that is made of one stays in a core's cache.

XLA computes one operation after another on whole arrays. A loop over chunks computes all operations
on one chunk before the next.

Chunks are cut from the whole arrays in place. XLA would compute an array once more for each other
shape that it is reshaped to.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def mapped(function: Callable[[jax.Array], jax.Array], x: jax.Array, examples: int) -> jax.Array:
    """Map a function over chunks of at most so many examples: (N, …) → (N, …)."""
    count = x.shape[0]
    chunks, each = _cut(count, examples)
    shape = jax.eval_shape(function, jax.ShapeDtypeStruct((each, *x.shape[1:]), x.dtype))

    def put(chunk: jax.Array, made: jax.Array) -> jax.Array:
        start = jnp.minimum(chunk * each, count - each)  # the last two chunks may overlap
        here = function(jax.lax.dynamic_slice_in_dim(x, start, each))
        return jax.lax.dynamic_update_slice_in_dim(made, here, start, 0)

    # What the loop overwrites must be made from x. Zeros would be made as the program begins, kept
    # until the loop needs them, and copied, since several loops share them.
    begun = x
    if (count, *shape.shape[1:]) != x.shape or shape.dtype != x.dtype:
        some = x[(0,) * x.ndim].astype(shape.dtype)
        begun = jnp.broadcast_to(some, (count, *shape.shape[1:]))
    made: jax.Array = jax.lax.fori_loop(0, chunks, put, begun)
    return made


def summed(
    function: Callable[[jax.Array, jax.Array], list[jax.Array]],
    a: jax.Array,
    b: jax.Array,
    examples: int,
) -> list[jax.Array]:
    """Sum what a function returns for chunks of at most so many examples of (N, …) and (N, …).

    The function must return zeros where `b` is zero.
    """
    count = a.shape[0]
    chunks, each = _cut(count, examples)
    cut = (jax.ShapeDtypeStruct((each, *whole.shape[1:]), whole.dtype) for whole in (a, b))
    shapes = jax.eval_shape(function, *cut)

    def add(number: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        start = jnp.minimum(number * each, count - each)
        here, there = (jax.lax.dynamic_slice_in_dim(whole, start, each) for whole in (a, b))
        if chunks * each > count:  # the last two chunks overlap: count each example once
            new = start + jnp.arange(each) >= number * each
            there = jnp.where(new.reshape(-1, *[1] * (b.ndim - 1)), there, jnp.zeros_like(there))
        return [old + more for old, more in zip(sums, function(here, there), strict=True)]

    zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
    sums: list[jax.Array] = jax.lax.fori_loop(0, chunks, add, zeros)
    return sums


def _cut(count: int, examples: int) -> tuple[int, int]:
    """Return the number of chunks, and the examples of each."""
    chunks = math.ceil(count / max(1, examples))
    return chunks, math.ceil(count / chunks)
