"""Normalization layers."""

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.layout import AXIS, Layout
from jbatch.models.specs import GhostBatchNorm, NoNorm, Norm


def norm_layer(norm: Norm, channels: int):
    """The layer that a norm value stands for: (x, layout) → x."""
    match norm:
        case NoNorm():
            return IdentityLayer()
        case GhostBatchNorm():
            return GhostBatchNormLayer(norm, channels)


class IdentityLayer(nnx.Module):
    """No normalization."""

    def __call__(self, x: jax.Array, layout: Layout | None) -> jax.Array:
        """`x` as it is."""
        return x


class GhostBatchNormLayer(nnx.Module):
    """Batch norm over the ghost batches of a layout (Hoffer et al., arXiv 1705.08741).

    In training the running statistics are not read: the layer leaves in their place the sums of its
    ghost batches' statistics over this device, a group shared by s devices counting 1/s on each.
    `step.apply` folds those into the running ones, once per update, however it was split.
    """

    def __init__(self, norm: GhostBatchNorm, channels: int):
        self.eps = norm.eps
        self.scale = nnx.Param(jnp.ones((channels,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros((channels,), jnp.float32))
        self.var = nnx.BatchStat(jnp.ones((channels,), jnp.float32))

    def __call__(self, x: jax.Array, layout: Layout | None) -> jax.Array:
        """Normalize over all axes but the last.

        Args:
            x: (per_device, ..., channels), ghost batch by ghost batch as in `layout.places`.
            layout: how this pass is shared out; None to use the running statistics.
        """
        if layout is None:
            return self._normalized(x, self.mean[...], self.var[...])
        groups = x.reshape(layout.groups_per_device, -1, x.shape[-1])  # (G, g/s · pixels, C)
        mean = _over_block(groups.mean(1), layout)  # (G, C)
        var = _over_block(jnp.square(groups - mean[:, None]).mean(1), layout)
        self.mean[...] = mean.sum(0) / layout.span
        self.var[...] = var.sum(0) / layout.span
        return self._normalized(groups, mean[:, None], var[:, None]).reshape(x.shape)

    def _normalized(self, x, mean, var):
        return (x - mean) * (jax.lax.rsqrt(var + self.eps) * self.scale[...]) + self.bias[...]


def _over_block(share: jax.Array, layout: Layout) -> jax.Array:
    """The mean over the devices that share a ghost batch."""
    if layout.span == 1:
        return share
    return jax.lax.psum(share, AXIS, axis_index_groups=layout.blocks) / layout.span
