"""Random changes to training images, on the device, keyed by position."""

from dataclasses import dataclass

from jbatch.errors import make_plain, share, whole


@dataclass(frozen=True)
class Augment:
    """Which changes; none by default."""

    pad: int = 0
    """Pad with zeros by this many pixels on each side, then crop back to size at random."""
    flip: bool = False
    """Mirror left and right, half of the time."""
    color: float = 0.0
    """Brightness, contrast and saturation, each multiplied by 1 − color to 1 + color."""

    def __post_init__(self):
        make_plain(self)
        whole("pad", self.pad, least=0, most=1024)
        share("color", self.color)


def example_keys(seed, epoch, places):
    """A random key of each example, by its position alone: (B,).

    Args:
        seed: uint32 scalar.
        epoch: uint32 scalar.
        places: (B,) uint32, within the epoch.
    """
    import jax

    # Of no other kind, whatever JAX's default is: rbg's numbers depend on how many there are.
    epoch_key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), epoch)
    return jax.vmap(lambda place: jax.random.fold_in(epoch_key, place))(places)


def augment(augment: Augment, images, keys):
    """Change each image by its key.

    Args:
        augment: which changes.
        images: (B, H, W, C) uint8; with `color` C is 3.
        keys: (B,), of `example_keys`.

    Returns:
        Images of the same shape, uint8, or with `color` float32 from 0 to 255.
    """
    import jax  # an experiment file is read without it
    import jax.numpy as jnp

    if augment.color:
        images = jax.vmap(lambda image, key: _recolored(augment.color, image, key))(images, keys)
    if not (augment.pad or augment.flip):
        return images
    pad = augment.pad
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def change(image, key):
        down, right, mirror = jax.random.bits(key, (3,), "uint32")
        choices = jnp.uint32(2 * pad + 1)
        start = (down % choices, right % choices, jnp.uint32(0))
        image = jax.lax.dynamic_slice(image, start, images.shape[1:])
        if augment.flip:
            image = jnp.where(mirror % jnp.uint32(2) == 1, image[:, ::-1], image)
        return image

    return jax.vmap(change)(padded, keys)


def _recolored(strength: float, image, key):
    """One image (H, W, 3) → float32, as torchvision's ColorJitter defines the three changes."""
    import jax
    import jax.numpy as jnp

    def mixed(image, other, factor):
        return jnp.clip(factor * image + (1 - factor) * other, 0, 255)

    def grey(image):
        return (image * jnp.array([0.299, 0.587, 0.114], jnp.float32)).sum(-1, keepdims=True)

    key = jax.random.fold_in(key, 1)  # the key itself gives crop and flip
    brightness, contrast, saturation = jax.random.uniform(
        key, (3,), "float32", minval=1 - strength, maxval=1 + strength
    )
    image = mixed(image.astype(jnp.float32), jnp.float32(0), brightness)
    image = mixed(image, grey(image).mean(), contrast)
    return mixed(image, grey(image), saturation)
