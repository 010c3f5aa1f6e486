"""Examples: any pytree of arrays, such as {"image": …, "label": …}."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Example = Any  # a pytree of arrays, of one example or with a leading axis over examples


class Batch(NamedTuple):
    """A device's examples of a pass, as the dataset has them."""

    examples: Example  # every leaf (B, …)
    keys: jax.Array | None  # (B,) a random key per example; None in evaluation
    # (B,) uint32, each example's own random number plus the epoch, so that its last bit alternates
    # from epoch to epoch; None in evaluation, and for streams, which do not know them.
    turns: jax.Array | None = None


class Spec(NamedTuple):
    """Shapes and dtypes of one example; hashable, as pytrees of dicts are not."""

    structure: jax.tree_util.PyTreeDef
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    def __str__(self) -> str:
        """Return the parts in words: image uint8 (8, 8, 1), label int32 ()."""
        paths = jax.tree_util.tree_flatten_with_path(self.tree)[0]
        return ", ".join(
            f"{jax.tree_util.keystr(path, simple=True, separator='.')} {leaf.dtype} "
            f"{leaf.shape}".strip()
            for path, leaf in paths
        )

    @property
    def tree(self) -> Example:
        """The example, with a ShapeDtypeStruct for every array."""
        return jax.tree.unflatten(self.structure, self.leaves)

    def stacked(self, *axes: int) -> Example:
        """Return shapes and dtypes of many examples, with these leading axes."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), self.tree
        )

    def zeros(self, *axes: int) -> Example:
        """Return examples of zeros, with these leading axes."""
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), self.stacked(*axes))

    @property
    def nbytes(self) -> int:
        """Bytes of one example."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in self.leaves)


def spec_of(examples: Example) -> Spec:
    """Return the spec of one of `examples`, whose arrays have a leading axis over them."""
    leaves, structure = jax.tree.flatten(examples)
    return Spec(structure, tuple(jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in leaves))
