"""Map a function of one example over a pass, and add up.

Examples of a group are mapped with the axis name "group", inside a map over groups. So collectives
over "group" see a group's examples, wherever the update was cut.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jbatch.data.batch import Batch
from jbatch.plan.layout import AXIS, Layout

GROUP = "group"

# (params, state, example, key) → (scores as (sum, weight) by name, the state it leaves)
Scored = Callable[[Any, Any, Any, jax.Array | None], tuple[dict[str, tuple[Any, Any]], Any]]


def training_sums(
    scored: Scored, params: Any, state: Any, batch: Batch, layout: Layout, name: str | None
) -> tuple[dict[str, tuple[Any, Any]], Any]:
    """Return this device's sums over a training pass: scores by name, and changes of the state.

    A group's change is what it leaves minus what it found: the sum of small numbers rounds less.

    A group that spans s devices is gathered and computed on each of them, and counts 1/s there.

    Args:
        scored: scores one example.
        params: parameters.
        state: before the update.
        batch: this device's examples, in the order of `layout.places`.
        layout: how the devices share the pass.
        name: of the axis over a group's examples; None if they do not see each other, so that a
            collective is an error and not one over a single example.
    """
    grouped = jax.tree.map(lambda leaf: whole_groups(leaf, layout), batch[:2])
    over_examples = jax.vmap(scored, in_axes=(None, None, 0, 0), out_axes=(0, None), axis_name=name)
    over_groups = jax.vmap(over_examples, in_axes=(None, None, 0, 0))
    scores, left = over_groups(params, state, *grouped)

    def share(total: jax.Array) -> jax.Array:
        return jnp.divide(total, layout.span) if layout.span > 1 else total

    return (
        jax.tree.map(lambda leaf: share(leaf.sum((0, 1))), scores),
        jax.tree.map(
            lambda leaf, old: share((leaf - old).sum(0)) if _averaged(old) else old, left, state
        ),
    )


def next_in_group(leaf: jax.Array, layout: Layout) -> jax.Array:
    """Return each example's next one in its group; the last one's is the first.

    Args:
        leaf: (per_device, …), in the order of `layout.places`.
        layout: how the devices share the pass.
    """
    rolled = jnp.roll(whole_groups(leaf, layout), -1, axis=1)
    if layout.span > 1:
        share = layout.group // layout.span
        first = jax.lax.axis_index(AXIS) % layout.span * share
        rolled = jax.lax.dynamic_slice_in_dim(rolled, first, share, axis=1)
    return rolled.reshape(leaf.shape)


def whole_groups(leaf: jax.Array, layout: Layout) -> jax.Array:
    """Regroup (per_device, …) to (groups_per_device, g, …), from all devices of a block."""
    share = layout.group // layout.span
    mine = leaf.reshape(layout.groups_per_device, share, *leaf.shape[1:])
    if layout.span == 1:
        return mine
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _gathered(jax.random.key_data(mine), layout)
        keys: jax.Array = jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return keys
    return _gathered(mine, layout)


def _gathered(mine: jax.Array, layout: Layout) -> jax.Array:
    gathered: jax.Array = jax.lax.all_gather(
        mine, AXIS, axis_index_groups=[list(block) for block in layout.blocks], axis=1, tiled=True
    )
    return gathered


def evaluation_sums(
    scored: Scored,
    params: Any,
    state: Any,
    batch: Batch,
    exists: jax.Array,
    group: int,
    name: str | None,
) -> dict[str, tuple[Any, Any]]:
    """Return the sums of this device's scores over the examples that exist.

    Args:
        scored: scores one example; it gets no key.
        params: parameters.
        state: used and left as it is.
        batch: (B,) examples, B a multiple of `group`.
        exists: (B,) bool.
        group: examples that see each other.
        name: of the axis over them; None if they do not.
    """

    def one(example: Any, exists: jax.Array) -> dict[str, tuple[Any, Any]]:
        scores, _ = scored(params, state, example, None)
        counted: dict[str, tuple[Any, Any]] = jax.tree.map(
            lambda leaf: jnp.where(exists, leaf, jnp.zeros_like(leaf)), scores
        )
        return counted

    both = jax.tree.map(
        lambda leaf: leaf.reshape(-1, group, *leaf.shape[1:]), (batch.examples, exists)
    )
    scores = jax.vmap(jax.vmap(one, axis_name=name))(*both)
    summed: dict[str, tuple[Any, Any]] = jax.tree.map(lambda leaf: leaf.sum((0, 1)), scores)
    return summed


def averaged(
    state: Any, sums: Any, groups: jax.Array, decay: Callable[[tuple[Any, ...]], float | None]
) -> Any:
    """Return a state after an update, from the sum of its groups' changes.

    Each group started from the same state. If each moved an average x by x ← d·x + (1 − d)·its own,
    then n groups one after another leave dⁿ·x + (1 − dⁿ)·their mean. So an average's memory in
    examples stays the same as the batch grows.

    Args:
        state: before the update.
        sums: of the groups' changes, see `training_sums`.
        groups: float32 scalar, n.
        decay: path of an array in the state → d; None for the mean of the changes.
    """

    def one(path: tuple[Any, ...], old: jax.Array, total: jax.Array) -> jax.Array:
        if not _averaged(old):
            return old  # counters and the like
        mean: jax.Array = total / groups.astype(total.dtype)
        if (d := decay(path)) is None:
            return old + mean
        # The mean change of one step is (1 − d)·(their mean − old).
        steps: jax.Array = (1 - jnp.float32(d) ** groups) / (1 - d)
        return old + mean * steps.astype(old.dtype)

    new: Any = jax.tree_util.tree_map_with_path(one, state, sums)
    return new


def _averaged(leaf: jax.Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
