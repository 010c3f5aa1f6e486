"""Loops over chunks of a batch, small enough that all that is made of one stays in a core's cache.

XLA computes one operation after another on whole arrays. A loop over chunks computes all operations
on one chunk before the next. (XLA's convolutions themselves would be slow inside a loop.)
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def mapped(function: Callable[[jax.Array], jax.Array], x: jax.Array, examples: int) -> jax.Array:
    """Map a function over chunks of about so many examples: (N, …) → (N, …)."""
    cut = _cut(x, examples)  # (chunks, examples, …)
    found: jax.Array = jax.lax.map(function, cut)
    return found.reshape(-1, *found.shape[2:])[: x.shape[0]]


def summed(
    function: Callable[[jax.Array, jax.Array], list[jax.Array]],
    a: jax.Array,
    b: jax.Array,
    examples: int,
) -> list[jax.Array]:
    """Sum what a function returns for chunks of about so many examples of (N, …) and (N, …).

    Examples of zeros fill the last chunk.
    """
    cut = _cut(a, examples), _cut(b, examples)
    shapes = jax.eval_shape(function, *(jax.ShapeDtypeStruct(c.shape[1:], c.dtype) for c in cut))

    def add(sums: list[jax.Array], chunk: Any) -> tuple[list[jax.Array], None]:
        return [old + new for old, new in zip(sums, function(*chunk), strict=True)], None

    sums: list[jax.Array]
    sums, _ = jax.lax.scan(add, [jnp.zeros(each.shape, each.dtype) for each in shapes], cut)
    return sums


def _cut(x: jax.Array, examples: int) -> jax.Array:
    """(N, …) → (chunks, n, …), with n at most `examples` and zeros after the last example."""
    count = x.shape[0]
    chunks = math.ceil(count / max(1, examples))
    each = math.ceil(count / chunks)
    if missing := chunks * each - count:
        x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(chunks, each, *x.shape[1:])
