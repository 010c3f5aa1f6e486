"""The layers that all networks share.

A layer computes in the dtype of what it is given, float32 or bfloat16; parameters are float32.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.models.norm import Pass, norm_layer
from jbatch.models.specs import LocalResponseNorm, NoNorm, Norm, WeightNorm

AUGMENTATIONS = 16  # the first numbers drawn from an example's key are its image's changes
HE_FAN_IN = nnx.initializers.he_normal()
HE_FAN_OUT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
LECUN = nnx.initializers.lecun_normal()


class Weighted(nnx.Module):
    """The parameters of a linear map: kernel, and as the norm that follows asks, gain and bias."""

    def __init__(self, norm: Norm, shape: Sequence[int], init, rngs: nnx.Rngs):
        kernel = init(rngs.params(), tuple(shape), jnp.float32)
        self.kernel = nnx.Param(kernel)  # (..., fan_out)
        # The length of each unit's weights (Salimans and Kingma, eq. 2), at first what it was.
        self.gain = nnx.Param(_lengths(kernel)) if isinstance(norm, WeightNorm) else None
        # A bias before a norm has a gradient of pure rounding, which Adam makes a full step.
        biased = isinstance(norm, NoNorm | WeightNorm | LocalResponseNorm)
        self.bias = nnx.Param(jnp.zeros(shape[-1:], jnp.float32)) if biased else None

    def weights(self, dtype) -> jax.Array:
        """The kernel to compute with."""
        kernel = self.kernel[...]
        if self.gain is not None:
            kernel = kernel * (self.gain[...] / _lengths(kernel))
        return kernel.astype(dtype)

    def biased(self, x: jax.Array) -> jax.Array:
        """`x` with the bias, if there is one."""
        return x if self.bias is None else x + self.bias[...].astype(x.dtype)


class Linear(Weighted):
    """A fully connected layer; a norm of NoNorm gives it a bias, as a head has."""

    def __init__(self, norm: Norm, fan_in: int, fan_out: int, *, init=HE_FAN_IN, rngs: nnx.Rngs):
        super().__init__(norm, (fan_in, fan_out), init, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, fan_in) → (B, fan_out)."""
        return self.biased(x @ self.weights(x.dtype))


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
        rngs: nnx.Rngs,
    ):
        """Make it.

        Args:
            norm: what follows it; decides on bias and gain.
            fan_in: channels in.
            fan_out: channels out.
            size: of the kernel in pixels, (height, width) or one for both.
            stride: in pixels.
            pad: whether with zeros, by (size − 1)/2 on each side: as in the papers' own code, an
                even image is padded alike on both sides at stride 2 too.
            rngs: for the initial kernel.
        """
        size = (size, size) if isinstance(size, int) else size
        super().__init__(norm, (*size, fan_in, fan_out), HE_FAN_OUT, rngs)
        self.stride = stride
        self.padding = tuple(((n - 1) // 2, n // 2) if pad else (0, 0) for n in size)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, fan_in) → (B, H', W', fan_out)."""
        y = jax.lax.conv_general_dilated(
            x,
            self.weights(x.dtype),
            (self.stride, self.stride),
            self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return self.biased(y)


class ConvNorm(nnx.Module):
    """A convolution and the norm after it; `scale` is the norm's initial one."""

    def __init__(self, norm: Norm, fan_in, fan_out, size, stride=1, *, pad=True, scale=1.0, rngs):
        self.conv = Conv(norm, fan_in, fan_out, size, stride, pad=pad, rngs=rngs)
        self.norm = norm_layer(norm, fan_out, scale)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, H, W, fan_in) → (B, H', W', fan_out)."""
        return self.norm(self.conv(x), training)


class LinearNorm(nnx.Module):
    """A fully connected layer and the norm after it."""

    def __init__(self, norm: Norm, fan_in: int, fan_out: int, rngs: nnx.Rngs):
        self.linear = Linear(norm, fan_in, fan_out, rngs=rngs)
        self.norm = norm_layer(norm, fan_out)

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """(B, fan_in) → (B, fan_out)."""
        return self.norm(self.linear(x), training)


class Dropout(nnx.Module):
    """Zeros by the key of each example, so that they do not depend on the split."""

    def __init__(self, rate: float, number: int = 0):
        """`rate` is the share dropped; `number` tells a network's dropouts apart."""
        self.rate, self.number = rate, number

    def __call__(self, x: jax.Array, training: Pass | None) -> jax.Array:
        """`x`, in training with a share of it zero and the rest larger by as much."""
        if training is None or not self.rate:
            return x

        def kept(key):
            key = jax.random.fold_in(key, AUGMENTATIONS + self.number)
            return jax.random.bernoulli(key, 1 - self.rate, x.shape[1:])

        return jnp.where(jax.vmap(kept)(training.keys), x / (1 - self.rate), jnp.zeros_like(x))


def head(features: int, num_classes: int, rngs: nnx.Rngs, *, init=LECUN) -> Linear:
    """The last layer: features → logits, without a norm, and so with a bias."""
    return Linear(NoNorm(), features, num_classes, init=init, rngs=rngs)


def max_pool(x: jax.Array, size: int, stride: int, *, pad: bool = False) -> jax.Array:
    """The largest of each size×size window; with `pad`, windows hang over the edges alike."""
    edge = ((size - 1) // 2, size // 2) if pad else (0, 0)
    return nnx.max_pool(x, (size, size), (stride, stride), (edge, edge))


def flat(x: jax.Array) -> jax.Array:
    """(B, ...) → (B, n)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _lengths(kernel: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1))))
