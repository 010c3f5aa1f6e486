"""Measure the gradient noise scale from the parts of an update: its passes on its devices.

McCandlish et al. (arXiv 1812.06162) for any cut: k parts of bᵢ of B examples have mean gradients
gᵢ, and g is the mean of all. If the examples are drawn without replacement from N,

    trΣ  = (Σ bᵢ|gᵢ|² − B|g|²) / (k − 1)
    |G|² = |g|² − trΣ · (1/B − 1/N)

are unbiased, also for unequal parts (docs/noise.md derives it). A part adds one number to what it
sums anyway. Both are averaged over updates before their ratio is taken.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jbatch.moments import Moments
from jbatch.plan.layout import Layout

Leaves = Sequence[Any]  # arrays like the parameters that are trained
Scalar = jax.Array | npt.NDArray[Any]

REMEMBERED = 100  # measured updates; one so old weighs e⁻¹
SETTLED = 10  # updates after which Adam's second moments are no longer those of a few gradients


class Noise(NamedTuple):
    """Averages over measured updates, in each metric: the plain one, and Adam's if it has one."""

    squared: Scalar  # (metrics,) float32, |G|²
    trace: Scalar  # (metrics,) float32, trΣ
    weight: Scalar  # float32, 1 − the weight of what came before the first measurement


def nothing(params: Leaves, optimizer: Any) -> Noise:
    """Return averages over no update, on the host."""
    metrics = len(_metrics(optimizer, params))
    zeros = np.zeros(metrics, np.float32)
    return Noise(zeros, zeros.copy(), np.zeros((), np.float32))


def no_part(noise: Noise) -> jax.Array:
    """Return the `part` of no example: (1 + metrics,) float32."""
    return jnp.zeros((1 + noise.trace.shape[0],), jnp.float32)


def part(layout: Layout, optimizer: Any, gradients: Leaves, weight: jax.Array) -> jax.Array:
    """Return what a pass on this device adds to an update's sums.

    Groups that span devices make no parts of their own: the examples of a group depend on each
    other. An update with such a pass is not measured.

    Args:
        layout: of the pass.
        optimizer: optax's state before the update.
        gradients: sum over this device's examples of the pass.
        weight: what that sum is to be divided by for its mean; b for examples that count alike.

    Returns:
        (1 + metrics,) float32: the number of parts, and b|g|² in each metric.
    """
    if layout.span > 1:
        return jnp.full((1 + len(_metrics(optimizer, gradients)),), -jnp.inf, jnp.float32)
    counts = weight > 0
    squares = jnp.stack(_squares(optimizer, gradients)) / jnp.where(counts, weight, 1)
    return jnp.append(jnp.float32(1), squares) * counts.astype(jnp.float32)


def measured(
    before: Noise,
    parts: jax.Array,
    optimizer: Any,
    gradients: Leaves,
    weight: jax.Array,
    examples: jax.Array,
    num_examples: int,
    taken: Scalar,
) -> Noise:
    """Return the averages after an update; unchanged if it had only one part.

    Args:
        before: the averages before the update.
        parts: the sum of `part` over the update, on all devices.
        optimizer: optax's state before the update.
        gradients: sum over the update's examples.
        weight: what that sum is to be divided by.
        examples: B, float32.
        num_examples: N.
        taken: updates before this one.
    """
    count, squares = parts[0], parts[1:]
    usable = (count > 1) & (weight > 0)
    weight = jnp.where(usable, weight, 1)
    whole = jnp.stack(_squares(optimizer, gradients)) / jnp.square(weight)  # |g|²
    trace = (squares - weight * whole) / jnp.where(usable, count - 1, 1)
    trace = trace * examples / weight  # of examples that weigh alike
    squared = whole - trace * (1 / examples - jnp.float32(1 / num_examples))
    # Nothing of both leaves their ratio as it is. A coordinate that was silent for long has a
    # second moment near 0, and a gradient over it may be infinite.
    ready = jnp.arange(len(whole)) < jnp.where(taken < SETTLED, 1, len(whole))
    ready &= jnp.isfinite(trace) & jnp.isfinite(squared)
    new = jnp.float32(-np.expm1(-1 / REMEMBERED))
    total = before.weight + new * (1 - before.weight)

    def averaged(old: Scalar, now: jax.Array) -> jax.Array:
        moved = old + (jnp.where(ready, now, 0) - old) * (new / total)
        return jnp.where(usable, moved, old)

    return Noise(
        averaged(before.squared, squared),
        averaged(before.trace, trace),
        jnp.where(usable, total, before.weight),
    )


def updates_of(noise: Noise) -> float:
    """Return how many measured updates the averages are of.

    From about 1,600 on they are not told apart.

    Args:
        noise: on the host.
    """
    return round(-REMEMBERED * float(np.log(max(1 - float(noise.weight), 1e-7))), 1)


def _squares(optimizer: Any, gradients: Leaves) -> list[jax.Array]:
    """Return the squared length of a gradient in each metric."""
    squares = [jnp.square(leaf.astype(jnp.float32)) for leaf in gradients]
    found = []
    for moments in _metrics(optimizer, gradients):
        if moments is not None:
            pairs = zip(squares, moments, strict=True)
            squares = [jnp.where(moment > 0, square / moment, 0) for square, moment in pairs]
        found.append(jnp.stack([square.sum() for square in squares]).sum())
    return found


def _metrics(optimizer: Any, like: Leaves) -> list[list[jax.Array] | None]:
    """Return the metrics: None for the plain one, and Adam's second moments, leaf by leaf."""
    moments = _second_moments(optimizer, like)
    return [None] if moments is None else [None, moments]


def _second_moments(optimizer: Any, like: Leaves) -> list[jax.Array] | None:
    """Return Adam's second moments of all parameters; None for other optimizers.

    Adam divides a gradient by their root. Its correction for the first updates is a factor common
    to |G|² and trΣ.
    """

    def adam(state: Any) -> bool:
        return isinstance(state, optax.ScaleByAdamState | Moments)

    states = [state for state in jax.tree.leaves(optimizer, is_leaf=adam) if adam(state)]
    shapes = [leaf.shape for leaf in like]
    moments = [
        jax.tree.leaves(state.square if isinstance(state, Moments) else state.nu)
        for state in states
    ]
    if len(moments) != 1 or [leaf.shape for leaf in moments[0]] != shapes:
        return None  # some parameters have another optimizer
    return [leaf.astype(jnp.float32) for leaf in moments[0]]
