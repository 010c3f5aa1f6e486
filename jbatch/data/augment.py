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


def example_keys(seed, epoch, places):
    """A random key of each example, by its position alone: (B,).

    Args:
        seed: uint32 scalar.
        epoch: uint32 scalar.
        places: (B,) uint32, within the epoch.
    """
    import jax

    epoch_key = jax.random.fold_in(jax.random.key(seed), epoch)
    return jax.vmap(lambda place: jax.random.fold_in(epoch_key, place))(places)


def augment(augment: Augment, images, keys):
    """Change each image by its key.

    Args:
        augment: which changes.
        images: (B, H, W, C), any dtype.
        keys: (B,), of `example_keys`.

    Returns:
        Images of the same shape and dtype.
    """
    import jax  # an experiment file is read without it
    import jax.numpy as jnp

    if not (augment.pad or augment.flip):
        return images
    pad = augment.pad
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def change(image, key):
        down, right, mirror = jax.random.bits(key, (3,))
        choices = jnp.uint32(2 * pad + 1)
        start = (down % choices, right % choices, jnp.uint32(0))
        image = jax.lax.dynamic_slice(image, start, images.shape[1:])
        if augment.flip:
            image = jnp.where(mirror % jnp.uint32(2) == 1, image[:, ::-1], image)
        return image

    return jax.vmap(change)(padded, keys)
