"""Random changes to training images, on the device, keyed by position."""

from dataclasses import dataclass

from jbatch.errors import whole


@dataclass(frozen=True)
class Augment:
    """Which changes; none by default."""

    pad: int = 0
    """Pad with zeros by this many pixels on each side, then crop back to size at random."""
    flip: bool = False
    """Mirror left and right, half of the time."""

    def __post_init__(self):
        whole("pad", self.pad, least=0)


def augment(augment: Augment, images, seed, epoch, places):
    """Change each image by a random key of its position alone.

    Args:
        augment: which changes.
        images: (B, H, W, C), any dtype.
        seed: uint32 scalar.
        epoch: uint32 scalar.
        places: (B,) uint32, within the epoch.

    Returns:
        Images of the same shape and dtype.
    """
    import jax  # an experiment file is read without it
    import jax.numpy as jnp

    if not (augment.pad or augment.flip):
        return images
    pad = augment.pad
    epoch_key = jax.random.fold_in(jax.random.key(seed), epoch)
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def change(image, place):
        down, right, mirror = jax.random.bits(jax.random.fold_in(epoch_key, place), (3,))
        choices = jnp.uint32(2 * pad + 1)
        start = (down % choices, right % choices, jnp.uint32(0))
        image = jax.lax.dynamic_slice(image, start, images.shape[1:])
        if augment.flip:
            image = jnp.where(mirror % jnp.uint32(2) == 1, image[:, ::-1], image)
        return image

    return jax.vmap(change)(padded, places)
