"""Batch norm over the ghost batches of a pass, with a hand-written gradient.

For the backward pass it keeps its input and two numbers per group and channel.

On accelerators, mean and variance come from one pass over the input, which the compiler joins to
the convolution before it: Σ(x − s) and Σ(x − s)², where s is the running mean. CPUs compute the
mean first, as ever: they have no such convolution to join it to.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jbatch.models.pool import MaxPool
from jbatch.plan.layout import AXIS, Layout

SHORT = 4096  # numbers: XLA's CPU compiler takes a vector of less than 16 KiB into a loop

Two = tuple[jax.Array, jax.Array]
Three = tuple[jax.Array, jax.Array, jax.Array]  # results, or their gradients
Kept = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # x, scale, mean, 1/√(var + ε)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def ghost_norm(
    layout: Layout,
    eps: float,
    pool: MaxPool | None,
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    shift: jax.Array,
) -> Three:
    """Compute (x − mean)/√(var + ε) · scale + bias with the statistics of each example's group.

    Args:
        layout: how the devices share the pass.
        eps: ε.
        pool: None, or to return the largest results of each window alone. The statistics are those
            of all pixels all the same.
        x: (per_device, ..., C), ghost batch by ghost batch as in `Layout.places`; float32 or less.
        scale: (C,) float32.
        bias: (C,) float32.
        shift: (C,) float32, a mean known before, which has no gradient; see `in_one_pass`.

    Returns:
        An array like `x`, pooled if so asked; then the mean and the variance of the groups with
        examples on this device, each (G, C) float32. Mean and variance have no gradient.
    """
    return _forward(layout, eps, pool, x, scale, bias, shift)[0]


def in_two_passes(layout: Layout, groups: jax.Array) -> Two:
    """Compute mean and variance of groups (G, g/s, ..., C) float32, each (G, 1, ..., C).

    Devices that share a group take both passes over their own parts, and meet once: the variance of
    the whole is the mean of the parts' variances and the variance of their means.
    """
    count = groups[0].size // groups.shape[-1]
    mean = _sums(groups) / count
    var = _sums(jnp.square(groups - mean)) / count
    if layout.span == 1:
        return mean, var
    blocks = layout.blocks
    parts = jax.lax.all_gather(jnp.stack((mean, var)), AXIS, axis_index_groups=blocks)
    means, variances = parts[:, 0], parts[:, 1]  # (s, G, 1, ..., C)
    return means.mean(0), variances.mean(0) + means.var(0)


def in_one_pass(layout: Layout, groups: jax.Array, shift: jax.Array) -> Two:
    """Compute the same from sums of x − s and of its square, for the shift s (C,).

    The variance is a difference, whose relative rounding grows with 1 + (mean − s)²/variance. A
    running mean follows the mean, so it is small from the first updates on.
    """
    shifted = groups - shift
    first, second = _over_group(layout, groups, _sums(shifted), _sums(jnp.square(shifted)))
    return first + shift, jnp.maximum(second - jnp.square(first), 0)


def _forward(
    layout: Layout,
    eps: float,
    pool: MaxPool | None,
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    shift: jax.Array,
) -> tuple[Three, Kept]:
    groups = _groups(x, layout)
    mean, var = jax.lax.platform_dependent(
        groups,
        shift,
        cpu=lambda groups, _: in_two_passes(layout, groups),
        default=partial(in_one_pass, layout),
    )
    inverse = jax.lax.rsqrt(var + eps)
    chosen = _chosen(pool, scale, x)
    y = (_groups(chosen, layout) - mean) * (inverse * scale) + bias
    return (_like(chosen, y), _flat(mean), _flat(var)), (x, scale, mean, inverse)


def _backward(
    layout: Layout, eps: float, pool: MaxPool | None, kept: Kept, cotangents: Three
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """With h = (x − mean)/√(var + ε): ∂x = (∂y − mean(∂y) − h · mean(∂y·h)) · scale/√(var + ε).

    A pool puts each ∂y where its pixel was, and no other pixel has one.
    """
    del eps
    x, scale, mean, inverse = kept
    given, groups = _groups(cotangents[0], layout), _groups(x, layout)
    chosen, back = jax.vjp(partial(_chosen, pool, scale), x)
    sums, along = _sums(given), _sums(given * (_groups(chosen, layout) - mean)) * inverse
    mean_given, mean_along = _over_group(layout, groups, sums, along)
    placed = _groups(back(cotangents[0])[0], layout)
    to_x = (placed - mean_given - (groups - mean) * (inverse * mean_along)) * (inverse * scale)
    return _like(x, to_x), _flat(along).sum(0), _flat(sums).sum(0), None


ghost_norm.defvjp(_forward, _backward)


def _chosen(pool: MaxPool | None, scale: jax.Array, x: jax.Array) -> jax.Array:
    return x if pool is None else pool.before(scale, x)


def _groups(x: jax.Array, layout: Layout) -> jax.Array:
    """(per_device, ..., C) → (G, g/s, ..., C) float32."""
    return x.astype(jnp.float32).reshape(layout.groups_per_device, -1, *x.shape[1:])


def _like(x: jax.Array, groups: jax.Array) -> jax.Array:
    return groups.reshape(x.shape).astype(x.dtype)


def _sums(groups: jax.Array) -> jax.Array:
    """Sum each group on this device: (G, g/s, ..., C) → (G, 1, ..., C)."""
    sums: jax.Array = jax.lax.platform_dependent(groups, cpu=_product_sums, default=_plain_sums)
    return sums


def _plain_sums(groups: jax.Array) -> jax.Array:
    return groups.sum(tuple(range(1, groups.ndim - 1)), keepdims=True)


def _product_sums(groups: jax.Array) -> jax.Array:
    """Sum by a product with ones, which XLA's CPU compiler vectorizes.

    It would sum a computed array number by number: 3 to 14 times slower (jax 0.10.1). It does the
    same in a product with one short vector; with two rows of ones it cannot.
    """
    count = groups.shape[0]
    rows = groups.reshape(count, -1, groups.shape[-1])
    same = 2 if count == 1 and rows.shape[1] < SHORT else 1
    ones = jnp.ones((count, same, rows.shape[1]), jnp.float32)
    sums = jax.lax.dot_general(
        ones, rows, (((2,), (1,)), ((0,), (0,))), precision=jax.lax.Precision.HIGHEST
    )
    return sums[:, :1].reshape(count, *(1,) * (groups.ndim - 2), -1)


def _over_group(layout: Layout, groups: jax.Array, *sums: jax.Array) -> list[jax.Array]:
    """Compute each group's means over all devices that share it, from this device's sums."""
    count = layout.span * groups[0].size // groups.shape[-1]
    if layout.span > 1:
        both = jax.lax.psum(jnp.stack(sums), AXIS, axis_index_groups=layout.blocks)
        return [each / count for each in both]
    return [each / count for each in sums]


def _flat(of_groups: jax.Array) -> jax.Array:
    """(G, 1, ..., C) → (G, C)."""
    return of_groups.reshape(of_groups.shape[0], -1)
