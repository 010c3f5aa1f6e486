"""Layers that the networks share.

A layer computes in the dtype of its input, float32 or bfloat16. Parameters are float32.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from jbatch.models.conv.conv import conv
from jbatch.models.dense import product
from jbatch.models.norm import GhostBatchNormLayer, Pass, norm_layer
from jbatch.models.norms import LocalResponseNorm, NoNorm, WeightNorm
from jbatch.models.pool import MaxPool
from jbatch.models.specs import Norm

AUGMENTATIONS = 16  # the first numbers folded into an example's key are its augmentations'
HE_FAN_IN = nnx.initializers.he_normal()
HE_FAN_OUT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
LECUN = nnx.initializers.lecun_normal()


class Weighted(nnx.Module):
    """The parameters of a linear map: a kernel, and a gain and bias if the next norm needs them."""

    def __init__(self, norm: Norm, shape: Sequence[int], init: Initializer, rngs: nnx.Rngs):
        kernel = init(rngs.params(), tuple(shape), jnp.float32)
        self.kernel = nnx.Param(kernel)  # (..., fan_out)
        # Length of each unit's weights (Salimans and Kingma, eq. 2), initially that of the kernel.
        self.gain = nnx.Param(_lengths(kernel)) if isinstance(norm, WeightNorm) else None
        # A bias before a norm has a gradient of pure rounding, which Adam turns into full steps.
        biased = isinstance(norm, NoNorm | WeightNorm | LocalResponseNorm)
        self.bias = nnx.Param(jnp.zeros(shape[-1:], jnp.float32)) if biased else None

    def weights(self, dtype: DTypeLike) -> jax.Array:
        """Return the kernel to compute with, in `dtype`."""
        kernel = self.kernel[...]
        if self.gain is not None:
            kernel = kernel * (self.gain[...] / _lengths(kernel))
        return kernel.astype(dtype)

    def biased(self, x: jax.Array) -> jax.Array:
        """Add the bias to `x`, if there is one."""
        return x if self.bias is None else x + self.bias[...].astype(x.dtype)


class Linear(Weighted):
    """A fully connected layer. With NoNorm it has a bias, as in a head."""

    def __init__(
        self,
        norm: Norm,
        fan_in: int,
        fan_out: int,
        *,
        init: Initializer = HE_FAN_IN,
        rngs: nnx.Rngs,
    ):
        super().__init__(norm, (fan_in, fan_out), init, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, …, fan_in) → (B, …, fan_out)."""
        return self.biased(product(x, self.weights(x.dtype)))


def partial_identity(init: Initializer) -> Initializer:
    """Make an initializer that lets the first filters of a convolution pass their input on.

    Of a kernel (height, width, C, K), the first min(C, K) filters are 1 at their own input channel
    in the middle, and else 0; those after them are as `init` makes them. So a layer begins as a
    shortcut of what it can (PyTorch's `dirac_`; Jordan, arXiv 2404.00498).

    Examples:
        >>> import jax
        >>> init = jbatch.partial_identity(jax.nn.initializers.zeros)
        >>> kernel = init(jax.random.key(0), (3, 3, 2, 4))
        >>> kernel[1, 1]  # (C, K), in the middle
        Array([[1., 0., 0., 0.],
               [0., 1., 0., 0.]], dtype=float32)
    """

    def made(
        key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None
    ) -> jax.Array:
        kernel = init(key, shape, dtype, out_sharding)
        height, width, fan_in, fan_out = shape
        same = jnp.arange(min(fan_in, fan_out))
        kernel = kernel.at[..., : len(same)].set(0)
        return kernel.at[height // 2, width // 2, same, same].set(1)

    return made


class Conv(Weighted):
    """A convolution."""

    def __init__(
        self,
        norm: Norm,
        fan_in: int,
        fan_out: int,
        size: int | tuple[int, int],
        stride: int = 1,
        *,
        pad: bool = True,
        init: Initializer = HE_FAN_OUT,
        rngs: nnx.Rngs,
    ):
        """Make a convolution.

        Args:
            norm: the norm after it, which decides whether there are a bias and a gain.
            fan_in: input channels.
            fan_out: output channels.
            size: kernel size in pixels, (height, width) or one number for both.
            stride: stride in pixels.
            pad: pad with zeros, (size − 1)/2 on each side. As in the papers' own code, padding is
                equal on both sides even for even images at stride 2.
            init: makes the initial kernel.
            rngs: random numbers for the initial kernel.
        """
        size = (size, size) if isinstance(size, int) else size
        super().__init__(norm, (*size, fan_in, fan_out), init, rngs)
        self.stride = stride
        self.padding = tuple(((n - 1) // 2, n // 2) if pad else (0, 0) for n in size)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, fan_in) → (B, H', W', fan_out)."""
        y = conv(x, self.weights(x.dtype), self.stride, self.padding)
        return self.biased(y)


class ConvNorm(nnx.Module):
    """A convolution and the norm after it; `scale` is the norm's initial scale."""

    def __init__(
        self,
        norm: Norm,
        fan_in: int,
        fan_out: int,
        size: int | tuple[int, int],
        stride: int = 1,
        *,
        pad: bool = True,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(norm, fan_in, fan_out, size, stride, pad=pad, rngs=rngs)
        self.norm = norm_layer(norm, fan_out, scale)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H', W', fan_out)."""
        return self.norm(self.conv(x), training)

    def pooled(self, x: jax.Array, training: Pass | None, pool: MaxPool) -> jax.Array:
        """Return the same after a ReLU and a pool.

        Ghost batch norm and ReLU never change the order of values, so the pool comes before them:
        of fewer pixels they cost less. The result is the same to the bit. Its gradient differs only
        where rounding makes two pixels of a window equal.
        """
        if isinstance(self.norm, GhostBatchNormLayer):
            return nnx.relu(self.norm(self.conv(x), training, pool))
        return pool(nnx.relu(self(x, training)))


class LinearNorm(nnx.Module):
    """A fully connected layer and the norm after it."""

    def __init__(self, norm: Norm, fan_in: int, fan_out: int, rngs: nnx.Rngs):
        self.linear = Linear(norm, fan_in, fan_out, rngs=rngs)
        self.norm = norm_layer(norm, fan_out)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, fan_in) → (B, fan_out)."""
        return self.norm(self.linear(x), training)


class Dropout(nnx.Module):
    """Dropout by each example's key, so that it does not depend on the split.

    With `whole` it drops all of an example at once: stochastic depth (Huang et al., arXiv
    1603.09382), if it is the branch of a residual.
    """

    def __init__(self, rate: float, number: int = 0, *, whole: bool = False):
        """Drop a share `rate`; `number` tells the dropouts of a network apart."""
        self.rate, self.number, self.whole = rate, number, whole

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """Return `x`; in training, zero a share of it and scale the rest by 1/(1 − rate)."""
        if training is None or not self.rate:
            return x
        shape = (1,) * (x.ndim - 1) if self.whole else x.shape[1:]

        def kept(key: jax.Array) -> jax.Array:
            key = jax.random.fold_in(key, AUGMENTATIONS + self.number)
            return jax.random.bernoulli(key, 1 - self.rate, shape)

        return jnp.where(jax.vmap(kept)(training.keys), x / (1 - self.rate), jnp.zeros_like(x))


def head(features: int, num_classes: int, rngs: nnx.Rngs, *, init: Initializer = LECUN) -> Linear:
    """Build the last layer, features → logits, with a bias and no norm."""
    return Linear(NoNorm(), features, num_classes, init=init, rngs=rngs)


def flat(x: jax.Array) -> jax.Array:
    """Flatten all axes but the first: (B, ...) → (B, n)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _lengths(kernel: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1))))
