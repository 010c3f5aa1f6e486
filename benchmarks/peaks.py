"""Measure a device's peak rates, to compare training with them."""

import statistics
import time
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp


@cache
def flops(device: jax.Device, dtype: str) -> float:
    """Measure FLOP/s of a large matrix product."""
    side = 1024 if device.platform == "cpu" else 8192
    matrix = jax.device_put(jax.random.normal(jax.random.key(0), (side, side), dtype), device)
    product = jax.jit(lambda a: a @ a)
    return 2 * side**3 / seconds(lambda: product(matrix), 10)


@cache
def bandwidth(device: jax.Device) -> float:
    """Measure bytes/s, read and written, of a large copy."""
    count = 2**24 if device.platform == "cpu" else 2**30
    words = jax.device_put(jnp.ones(count, jnp.float32), device)
    copy = jax.jit(lambda a: a + 1)
    return 2 * words.nbytes / seconds(lambda: copy(words), 10)


def seconds(function: Callable, count: int) -> float:
    """Return seconds of one call: the median of three runs, after a warm-up."""
    jax.block_until_ready(function())
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(count):
            result = function()
        jax.block_until_ready(result)
        spent.append((time.perf_counter() - begun) / count)
    return statistics.median(spent)
