"""Max pooling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx


class MaxPool(NamedTuple):
    """The maximum of each size×size window; `pad` extends the image equally on all sides."""

    size: int
    stride: int
    pad: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) → (B, H', W', C)."""
        edge = ((self.size - 1) // 2, self.size // 2) if self.pad else (0, 0)
        window, strides = (self.size, self.size), (self.stride, self.stride)
        pooled: jax.Array = nnx.max_pool(x, window, strides, (edge, edge))
        return pooled

    def before(self, scale: jax.Array, x: jax.Array) -> jax.Array:
        """Take from each window the value that is largest after a factor `scale` (C,).

        That is the maximum where the factor is positive, and the minimum where it is negative.
        """
        sign = jnp.where(scale < 0, -1, 1).astype(x.dtype)
        return sign * self(sign * x)
