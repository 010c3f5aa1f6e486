"""Mixing each training image, and its target, with the next one of its group."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jbatch.errors import make_plain, not_negative

if TYPE_CHECKING:
    import jax

KEY = 4  # folded into an example's key


@dataclass(frozen=True)
class Mix:
    """Mix each image with the next one of its group; with both, by chance one of them.

    A group is the ghost batch, or without batch norm two examples. So what is mixed does not depend
    on how an update is split. Each image keeps a share λ, drawn from Beta(α, α) by its own key, and
    its target is λ times its label and 1 − λ times that of the other.

    Examples:
        >>> task = jbatch.Classify(jbatch.ResNet50(), mix=jbatch.Mix(mixup=0.2, cutmix=1.0))
    """

    mixup: float = 0.0
    """α of mixup (Zhang et al., arXiv 1710.09412): pixels are averaged. 0: none."""
    cutmix: float = 0.0
    """α of CutMix (Yun et al., arXiv 1905.04899): a rectangle of 1 − λ of the image, anywhere in
    it, comes from the other; what is outside of the image does not count in λ. 0: none."""

    def __post_init__(self) -> None:
        make_plain(self)
        not_negative("mixup", self.mixup)
        not_negative("cutmix", self.cutmix)

    @property
    def mixes(self) -> bool:
        """Whether it does anything."""
        return bool(self.mixup or self.cutmix)


def mixed(
    mix: Mix, image: "jax.Array", other: "jax.Array", key: "jax.Array"
) -> "tuple[jax.Array, jax.Array]":
    """Mix one image with another: (H, W, C) float32 → (image, λ, the share that is its own).

    Args:
        mix: how; it mixes.
        image: normalized.
        other: the same of the next example.
        key: of the example's position.
    """
    import jax  # here, so that reading an experiment file does not import JAX
    import jax.numpy as jnp

    which, share_key, place = jax.random.split(jax.random.fold_in(key, KEY), 3)

    def drawn(alpha: float) -> jax.Array:
        return jax.random.beta(share_key, jnp.float32(alpha), jnp.float32(alpha), (), "float32")

    def averaged() -> tuple[jax.Array, jax.Array]:
        share = drawn(mix.mixup)
        return share * image + (1 - share) * other, share

    def cut() -> tuple[jax.Array, jax.Array]:
        inside = rectangle(1 - drawn(mix.cutmix), jnp.float32(1), place, image.shape)
        share = 1 - inside.astype(jnp.float32).mean()
        return jnp.where(inside[..., None], other, image), share

    if not mix.cutmix:
        return averaged()
    if not mix.mixup:
        return cut()
    first = jax.random.bernoulli(which)
    found: tuple[jax.Array, jax.Array] = jax.tree.map(
        lambda one, two: jnp.where(first, one, two), averaged(), cut()
    )
    return found


def rectangle(
    area: "jax.Array", aspect: "jax.Array", key: "jax.Array", shape: tuple[int, ...]
) -> "jax.Array":
    """Return which pixels a random rectangle covers, (H, W) bool.

    Its centre is any pixel, with equal probability; parts of it may lie outside.

    Args:
        area: of the rectangle, as a share of the image's.
        aspect: its height over its width, as multiples of the image's.
        key: random key.
        shape: of the image, (H, W, …).
    """
    import jax
    import jax.numpy as jnp

    def covered(side: int, stretch: jax.Array, key: jax.Array) -> jax.Array:
        length = jnp.round(side * jnp.sqrt(area * stretch)).astype(jnp.int32)
        start = jax.random.randint(key, (), 0, side, "int32") - length // 2
        pixels = jnp.arange(side, dtype=jnp.int32)
        return (pixels >= start) & (pixels < start + length)

    for_rows, for_columns = jax.random.split(key)
    rows, columns = (
        covered(shape[0], aspect, for_rows),
        covered(shape[1], 1 / aspect, for_columns),
    )
    return rows[:, None] & columns[None, :]
