"""GELU, and its derivative from its argument alone."""

import math

import jax
import jax.numpy as jnp


@jax.custom_jvp
def gelu(x: jax.Array) -> jax.Array:
    """Return x · Φ(x), Φ the normal distribution (Hendrycks and Gimpel, arXiv 1606.08415).

    `jax.nn.gelu` computes Φ by erfc, which keeps digits of numbers under 1e-7 and costs three times
    as much on CPUs.
    """
    return x * _normal(x)


@gelu.defjvp
def _gradient(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    [x], [change] = primals, tangents
    density = jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return gelu(x), change * (_normal(x) + x * density)


def _normal(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))
