"""Normalization layers, called with (x, training); each returns an array like x.

Statistics and parameters are float32 in networks of any dtype.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.errors import Mistake
from jbatch.models.ghost_norm import ghost_norm
from jbatch.models.norms import (
    GhostBatchNorm,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    WeightNorm,
)
from jbatch.models.pool import MaxPool
from jbatch.models.specs import Norm
from jbatch.plan.layout import Layout


class Pass(NamedTuple):
    """A training pass, as the layers see it; in evaluation they get None instead."""

    layout: Layout  # how the devices share the pass
    keys: jax.Array  # (per_device,) random keys, one per example, derived from its position


class Layer(Protocol):
    """A layer that knows training from evaluation."""

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """Return the output; `training` is None in evaluation."""


def norm_layer(norm: Norm, channels: int, scale: float = 1.0) -> Layer:
    """Build the layer of a norm.

    Args:
        norm: the norm as a value.
        channels: number of channels of its input.
        scale: the initial scale, for norms that have one.

    Raises:
        Mistake: if the groups of a group norm do not divide the channels.
    """
    match norm:
        case NoNorm() | WeightNorm():  # `layers.Weighted` normalizes the weights
            return IdentityLayer()
        case GhostBatchNorm():
            return GhostBatchNormLayer(norm, channels, scale)
        case GroupNorm():
            if channels % norm.groups:
                raise Mistake(
                    f"{norm.groups} groups do not divide a layer of {channels} channels: set "
                    "--model.norm.groups to a number that divides the channels of every layer"
                )
            return GroupNormLayer(norm.groups, norm.eps, channels, scale)
        case LayerNorm():
            return GroupNormLayer(1, norm.eps, channels, scale)
        case LocalResponseNorm():
            return LocalResponseNormLayer(norm)


class IdentityLayer(nnx.Module):
    """No normalization."""

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """Return `x` unchanged."""
        return x


class Affine(nnx.Module):
    """Scale and bias per channel, after normalization."""

    def __init__(self, channels: int, scale: float):
        self.scale = nnx.Param(jnp.full((channels,), scale, jnp.float32))
        self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))


class GhostBatchNormLayer(nnx.Module):
    """Batch norm over the ghost batches of a layout (Hoffer et al., arXiv 1705.08741).

    In training the layer overwrites the running statistics with the sums of its ghost batches'
    statistics on this device. A group shared by s devices counts 1/s on each. `pure.apply` folds
    these sums into the running statistics once per update, so the split does not matter.
    """

    def __init__(self, norm: GhostBatchNorm, channels: int, scale: float):
        self.scale = nnx.Param(jnp.full((channels,), scale, jnp.float32)) if norm.scale else None
        self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))
        self.eps = norm.eps
        self.mean = nnx.BatchStat(jnp.zeros((channels,), jnp.float32))
        self.var = nnx.BatchStat(jnp.ones((channels,), jnp.float32))

    def __call__(
        self, x: jax.Array, training: Pass | None, pool: MaxPool | None = None
    ) -> jax.Array:
        """Normalize over all axes but the last.

        Args:
            x: (per_device, ..., channels), ghost batch by ghost batch as in `Layout.places`.
            training: None to use the running statistics.
            pool: to take the largest results alone, of images x (per_device, H, W, channels).
        """
        scale = jnp.ones_like(self.mean[...]) if self.scale is None else self.scale[...]
        if training is None:
            if pool is not None:
                x = pool.before(scale, x)
            # (x − mean)/√(var + ε) · scale + bias
            factor = jax.lax.rsqrt(self.var[...] + self.eps) * scale
            y = (x.astype(jnp.float32) - self.mean[...]) * factor + self.bias[...]
            return y.astype(x.dtype)
        layout = training.layout
        given = x, scale, self.bias[...], self.mean[...]
        y, mean, var = ghost_norm(layout, self.eps, pool, *given)
        self.mean[...] = mean.sum(0) / layout.span
        self.var[...] = var.sum(0) / layout.span
        return y


class GroupNormLayer(Affine):
    """Norm over pixels and each group of channels of an example (Wu and He, arXiv 1803.08494)."""

    def __init__(self, groups: int, eps: float, channels: int, scale: float):
        super().__init__(channels, scale)
        self.groups, self.eps = groups, eps

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """Normalize x (B, ..., channels)."""
        share = x.shape[-1] // self.groups
        grouped = x.astype(jnp.float32).reshape(x.shape[0], -1, self.groups, share)
        mean = grouped.mean((1, 3), keepdims=True)
        var = jnp.square(grouped - mean).mean((1, 3), keepdims=True)
        centred = ((grouped - mean) * jax.lax.rsqrt(var + self.eps)).reshape(x.shape)
        return (centred * self.scale[...] + self.bias[...]).astype(x.dtype)


class ChannelNormLayer(Affine):
    """Norm over the channels of each pixel or token, as in transformers and ConvNeXt."""

    def __init__(self, eps: float, channels: int):
        super().__init__(channels, 1.0)
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize x (..., channels)."""
        wide = x.astype(jnp.float32)
        centred = wide - wide.mean(-1, keepdims=True)
        factor = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + self.eps)
        return (centred * factor * self.scale[...] + self.bias[...]).astype(x.dtype)


class LocalResponseNormLayer(nnx.Module):
    """x / (k + α Σ x²)^β over neighbouring channels (Krizhevsky et al., 2012, section 3.3)."""

    def __init__(self, norm: LocalResponseNorm):
        self.norm = norm

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """Normalize x (..., channels)."""
        norm = self.norm
        before = norm.size // 2
        squares = jnp.square(x.astype(jnp.float32))
        sums: jax.Array = jax.lax.reduce_window(
            squares,
            0.0,
            jax.lax.add,
            window_dimensions=(*(1,) * (x.ndim - 1), norm.size),
            window_strides=(1,) * x.ndim,
            padding=[*[(0, 0)] * (x.ndim - 1), (before, norm.size - 1 - before)],
        )
        return (x.astype(jnp.float32) / (norm.k + norm.alpha * sums) ** norm.beta).astype(x.dtype)
