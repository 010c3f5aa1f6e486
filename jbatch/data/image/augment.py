"""Augmenting training images on the device; with a random key for each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jbatch.data.image.mix import rectangle
from jbatch.errors import Mistake, make_plain, share, whole

if TYPE_CHECKING:
    import jax
    import numpy as np

Edges = Literal["zeros", "reflected"]

# Folded into an example's key; 4 is in mix.py. Crop and flip use the key itself.
COLOR, CUTOUT, ERASING, OPERATIONS = 1, 2, 3, 5
ERASED, LONGEST = (0.02, 0.33), 3.3  # shares of an image, and the ratio of a rectangle's sides


@dataclass(frozen=True)
class Augment:
    """Random changes to training images; none by default.

    They come in the order: alternating flip, colour, shift, flip, operations,
    cutout, erasing.

    Examples:
        >>> task = jbatch.Classify(jbatch.WideResNet(), augment=jbatch.Augment(pad=4, flip=True))
    """

    pad: int = 0
    """Pixels of padding on each side; a random crop then restores the size."""
    flip: bool = False
    """Mirror left and right with probability 1/2."""
    color: float = 0.0
    """Multiply brightness, contrast and saturation each by a factor of 1 − color to 1 + color."""
    edges: Edges = "zeros"
    """What padding holds: zeros, or the image reflected at its edge, which it does not repeat."""
    alternating_flip: bool = False
    """Instead of flip: mirror each image with probability 1/2 in the first epoch, and from then on
    in every other epoch (Jordan, arXiv 2404.00498). For data in memory."""
    operations: int = 0
    """Operations of RandAugment on each image (Cubuk et al., arXiv 1909.13719), 2 there."""
    magnitude: float = 9.0
    """How strong they are, from 0 to 30."""
    cutout: int = 0
    """Side in pixels of a square that is erased, its centre any pixel (DeVries and Taylor, arXiv
    1708.04552). What is erased is 0 after normalization."""
    erasing: float = 0.0
    """Probability of erasing a rectangle of 2% to a third of the image, its sides up to 3.3 to 1
    (Zhong et al., arXiv 1708.04896), its centre any pixel."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("pad", self.pad, least=0, most=1024)
        share("color", self.color)
        whole("operations", self.operations, least=0, most=100)
        if not 0 <= self.magnitude <= 30:
            raise Mistake(f"magnitude is {self.magnitude:g}: give 0 to 30")
        whole("cutout", self.cutout, least=0, most=1024)
        if not 0 <= self.erasing <= 1:
            raise Mistake(f"erasing is {self.erasing:g}: give a probability, from 0 to 1")
        if self.edges not in ("zeros", "reflected"):
            raise Mistake(f"edges is {self.edges!r}: give 'zeros' or 'reflected'")
        if self.flip and self.alternating_flip:
            raise Mistake("flip and alternating_flip are both given: give one of them")

    @property
    def shapes(self) -> bool:
        """Whether it needs images with height and width."""
        moves = self.pad or self.flip or self.alternating_flip
        return bool(moves or self.operations or self.cutout or self.erasing)

    def check(self, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
        """Raise Mistake for images (H, W, C) that cannot be changed so."""
        if self.operations and dtype != "uint8":
            raise Mistake(
                f"augment.operations is {self.operations}, but the images are {dtype}: it is for "
                "values of 0 to 255 (uint8)"
            )
        if self.edges == "reflected" and self.pad >= min(shape[:2]):
            raise Mistake(
                f"augment.pad is {self.pad}, but images of {shape[0]}×{shape[1]} pixels can be "
                f"reflected by at most {min(shape[:2]) - 1}: give a smaller one"
            )


def augment(augment: Augment, images: "jax.Array", keys: "jax.Array") -> "jax.Array":
    """Augment each image with its own key.

    Args:
        augment: which changes.
        images: (B, H, W, C) uint8; `color` needs C = 3.
        keys: (B,), see `data/keys.py`.

    Returns:
        Images of the same shape: uint8, or float32 from 0 to 255 if `color` or `operations` is set.
    """
    import jax  # here, so that reading an experiment file does not import JAX

    if augment.color:
        images = jax.vmap(lambda image, key: _recolored(augment.color, image, key))(images, keys)
    if augment.pad or augment.flip:
        images = _placed(augment, images, keys)
    if augment.operations:
        from jbatch.data.image.rand_augment import operated

        def one(image: jax.Array, key: jax.Array) -> jax.Array:
            key = jax.random.fold_in(key, OPERATIONS)
            return operated(image, key, augment.operations, augment.magnitude)

        images = jax.vmap(one)(images, keys)
    return images


def _placed(augment: Augment, images: "jax.Array", keys: "jax.Array") -> "jax.Array":
    """Move and mirror images."""
    import jax
    import jax.numpy as jnp

    pad = augment.pad
    around = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    padded = jnp.pad(images, around, "reflect" if augment.edges == "reflected" else "constant")

    def change(image: jax.Array, key: jax.Array) -> jax.Array:
        down, right, mirror = jax.random.bits(key, (3,), "uint32")
        choices = jnp.uint32(2 * pad + 1)
        start = (down % choices, right % choices, jnp.uint32(0))
        image = jax.lax.dynamic_slice(image, start, images.shape[1:])
        if augment.flip:
            image = jnp.where(mirror % jnp.uint32(2) == 1, image[:, ::-1], image)
        return image

    return jax.vmap(change)(padded, keys)


def erased(augment: Augment, images: "jax.Array", keys: "jax.Array") -> "jax.Array":
    """Erase parts of normalized images (B, H, W, C), each with its own key."""
    import jax
    import jax.numpy as jnp

    if not (augment.cutout or augment.erasing):
        return images
    height, width = images.shape[1:3]

    def kept(key: jax.Array) -> jax.Array:
        inside = jnp.zeros((height, width), bool)
        if augment.cutout:
            share = jnp.float32(augment.cutout**2 / (height * width))
            place = jax.random.fold_in(key, CUTOUT)
            inside |= rectangle(share, jnp.float32(width / height), place, images.shape[1:])
        if augment.erasing:
            which, size, place = jax.random.split(jax.random.fold_in(key, ERASING), 3)
            drawn = jax.random.uniform(size, (2,), "float32")
            area = ERASED[0] + (ERASED[1] - ERASED[0]) * drawn[0]
            aspect = jnp.exp((2 * drawn[1] - 1) * jnp.log(jnp.float32(LONGEST)))
            one = rectangle(area, aspect * jnp.float32(width / height), place, images.shape[1:])
            inside |= one & jax.random.bernoulli(which, augment.erasing)
        return ~inside[..., None]

    return jnp.where(jax.vmap(kept)(keys), images, jnp.zeros_like(images))


def turned(images: "jax.Array", turns: "jax.Array") -> "jax.Array":
    """Mirror the images (B, H, W, C) whose turn it is, see `alternating_flip` and `Batch.turns`."""
    import jax.numpy as jnp

    return jnp.where(turns[:, None, None, None] % jnp.uint32(2) == 1, images[:, :, ::-1], images)


def _recolored(strength: float, image: "jax.Array", key: "jax.Array") -> "jax.Array":
    """Recolor one image, (H, W, 3) → float32, as torchvision's ColorJitter defines it."""
    import jax
    import jax.numpy as jnp

    def mixed(image: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
        return jnp.clip(factor * image + (1 - factor) * other, 0, 255)

    def grey(image: jax.Array) -> jax.Array:
        return (image * jnp.array([0.299, 0.587, 0.114], jnp.float32)).sum(-1, keepdims=True)

    key = jax.random.fold_in(key, COLOR)
    brightness, contrast, saturation = jax.random.uniform(
        key, (3,), "float32", minval=1 - strength, maxval=1 + strength
    )
    image = mixed(image.astype(jnp.float32), jnp.float32(0), brightness)
    image = mixed(image, grey(image).mean(), contrast)
    return mixed(image, grey(image), saturation)
