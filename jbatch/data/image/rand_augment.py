"""RandAugment (Cubuk et al., arXiv 1909.13719) on the device: operations as Pillow defines them.

All operations of an image are computed and one is taken, because a device maps over images.
"""

import jax
import jax.numpy as jnp

OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "posterize",
    "solarize",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
STRONGEST = 30.0  # the magnitude at which operations reach these:
FACTOR, DEGREES, SHEAR, SHIFT, BITS = 0.9, 30.0, 0.3, 150 / 331, 4


def operated(image: jax.Array, key: jax.Array, count: int, magnitude: float) -> jax.Array:
    """Apply `count` operations in a row, each drawn from all with equal probability.

    Args:
        image: (H, W, C), 0 to 255.
        key: random key.
        count: how many operations.
        magnitude: from 0 to `STRONGEST`.

    Returns:
        (H, W, C) float32, whole numbers.
    """
    image = jnp.floor(image.astype(jnp.float32))
    for step in jax.random.split(key, count):
        of_which, of_sign = jax.random.split(step)
        which = jax.random.randint(of_which, (), 0, len(OPERATIONS), "int32")
        sign = jnp.where(jax.random.bernoulli(of_sign), jnp.float32(1), jnp.float32(-1))
        image = operation(image, which, sign * jnp.float32(magnitude / STRONGEST))
    return image


def operation(image: jax.Array, which: jax.Array, strength: jax.Array) -> jax.Array:
    """Apply one operation: (H, W, C) float32 of whole numbers → the same.

    Args:
        image: the image.
        which: int32, its place in `OPERATIONS`.
        strength: from −1 to 1; operations without a sign take its size.
    """
    size = jnp.abs(strength)
    factor = 1 + FACTOR * strength
    grey = _grey(image)
    mean = jnp.floor(grey.mean() + jnp.float32(0.5))
    found = {
        "autocontrast": _autocontrast(image),
        "equalize": _equalized(image),
        "posterize": _posterized(image, jnp.round(BITS * size)),
        "solarize": jnp.where(image >= 255 * (1 - size), 255 - image, image),
        "brightness": _blended(jnp.zeros_like(image), image, factor),
        "color": _blended(jnp.broadcast_to(grey, image.shape), image, factor),
        "contrast": _blended(jnp.broadcast_to(mean, image.shape), image, factor),
        "sharpness": _blended(_smooth(image), image, factor),
    }
    places = {name: jnp.int32(place) for place, name in enumerate(OPERATIONS)}
    moved = _moved(image, which, strength, places)
    return jnp.select([which == places[name] for name in found], list(found.values()), moved)


def _blended(other: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.floor(jnp.clip(other + factor * (image - other), 0, 255))


def _grey(image: jax.Array) -> jax.Array:
    """Return the luminance (H, W, 1), of images that have no colour their own."""
    if image.shape[-1] != 3:
        return image[..., :1]
    weights = jnp.array([0.299, 0.587, 0.114], jnp.float32)
    return jnp.floor((image * weights).sum(-1, keepdims=True) + jnp.float32(0.5))


def _smooth(image: jax.Array) -> jax.Array:
    """Average 3×3 pixels, the middle one five times; the border stays."""
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    parts = [
        image[row : height - 2 + row, column : width - 2 + column]
        for row in range(3)
        for column in range(3)
    ]
    inner = jnp.floor((jnp.stack(parts).sum(0) + 4 * parts[4]) / 13 + jnp.float32(0.5))
    return image.at[1:-1, 1:-1].set(inner)


def _autocontrast(image: jax.Array) -> jax.Array:
    low, high = image.min((0, 1)), image.max((0, 1))
    spread = jnp.where(high > low, high - low, 255)
    # A little more, so that what is whole stays whole.
    stretched = jnp.floor((image - low) * 255 / spread + jnp.float32(1e-3))
    return jnp.where(high > low, stretched, image)


def _equalized(image: jax.Array) -> jax.Array:
    def channel(values: jax.Array) -> jax.Array:
        index = values.astype(jnp.int32)
        counts = jnp.zeros(256, jnp.int32).at[index.ravel()].add(1)
        step = (index.size - counts[index.max()]) // 255
        before = jnp.cumsum(counts) - counts
        table = jnp.clip((before + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, table[index].astype(jnp.float32), values)

    equalized: jax.Array = jax.vmap(channel, in_axes=-1, out_axes=-1)(image)
    return equalized


def _posterized(image: jax.Array, lost: jax.Array) -> jax.Array:
    """Set the lowest bits to 0."""
    unit = 2**lost
    return jnp.floor(image / unit) * unit


def _moved(
    image: jax.Array, which: jax.Array, strength: jax.Array, places: dict[str, jax.Array]
) -> jax.Array:
    """Rotate, shear or translate around the middle: the nearest pixel, and 0 from outside."""
    height, width = image.shape[:2]

    def by(name: str, most: float) -> jax.Array:
        return jnp.where(which == places[name], most * strength, 0).astype(jnp.float32)

    angle = by("rotate", DEGREES) * jnp.float32(jnp.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y = jnp.arange(height, dtype=jnp.float32)[:, None] + 0.5 - height / 2
    x = jnp.arange(width, dtype=jnp.float32)[None, :] + 0.5 - width / 2
    right, down = by("translate_x", SHIFT * width), by("translate_y", SHIFT * height)
    from_x = cos * x + (sin + by("shear_x", SHEAR)) * y + jnp.trunc(right)
    from_y = (by("shear_y", SHEAR) - sin) * x + cos * y + jnp.trunc(down)
    columns = jnp.floor(from_x + width / 2).astype(jnp.int32)
    rows = jnp.floor(from_y + height / 2).astype(jnp.int32)
    there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = image[jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)]
    return jnp.where(there[..., None], found, 0)
