"""RandAugment's operations are Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jbatch import MLP, Arrays, Augment, Classify, Mistake
from jbatch.data.image.augment import augment
from jbatch.data.image.rand_augment import OPERATIONS, operation
from jbatch.data.keys import example_keys
from jbatch.data.open import load

RNG = np.random.default_rng(0)
# Smooth and noisy, of few values and of many, so that histograms differ.
IMAGES = [
    RNG.integers(0, 256, (20, 26, 3)).astype(np.uint8),
    np.clip(RNG.normal(90, 25, (20, 26, 3)), 30, 200).astype(np.uint8),
    np.linspace(0, 199, 20 * 26 * 3).reshape(20, 26, 3).astype(np.uint8),
    np.full((20, 26, 3), 77, np.uint8),
]


def affine(image, a, b, c, d, e, f):
    """Pillow's transform around the middle: output → input."""
    w, h = image.size
    c, f = c + w / 2 - a * w / 2 - b * h / 2, f + h / 2 - d * w / 2 - e * h / 2
    return image.transform((w, h), Image.Transform.AFFINE, (a, b, c, d, e, f))


def turned(image, degrees):
    angle = np.deg2rad(degrees)
    return affine(image, np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0)


def sharpened(image, s):
    return Image.blend(image.filter(ImageFilter.SMOOTH), image, 1 + 0.9 * s)


PILLOW = {
    "identity": lambda image, s: image,
    "autocontrast": lambda image, s: ImageOps.autocontrast(image),
    "equalize": lambda image, s: ImageOps.equalize(image),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(4 * abs(s))),
    "solarize": lambda image, s: ImageOps.solarize(image, 255 * (1 - abs(s))),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + 0.9 * s),
    "color": lambda image, s: ImageEnhance.Color(image).enhance(1 + 0.9 * s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + 0.9 * s),
    "sharpness": sharpened,
    "rotate": lambda image, s: turned(image, 30 * s),
    "shear_x": lambda image, s: affine(image, 1, 0.3 * s, 0, 0, 1, 0),
    "shear_y": lambda image, s: affine(image, 1, 0, 0, 0.3 * s, 1, 0),
    "translate_x": lambda image, s: affine(image, 1, 0, int(150 / 331 * 26 * s), 0, 1, 0),
    "translate_y": lambda image, s: affine(image, 1, 0, 0, 0, 1, int(150 / 331 * 20 * s)),
}
MOVING = ("rotate", "shear_x", "shear_y")


def test_all_operations_are_pillows():
    jitted = jax.jit(operation)
    assert tuple(PILLOW) == OPERATIONS
    for place, (name, pillow) in enumerate(PILLOW.items()):
        for image in IMAGES:
            for strength in (0.3, -0.7, 1.0):
                found = jitted(
                    jnp.asarray(image, jnp.float32), jnp.int32(place), jnp.float32(strength)
                )
                expected = np.asarray(pillow(Image.fromarray(image), strength), float)
                off = np.abs(np.asarray(found) - expected)
                if name in MOVING:  # a pixel between two may be taken from either
                    assert (off > 0).mean() < 0.02, (name, strength)
                else:  # rounding in fixed and floating point
                    assert off.max() <= 1, (name, strength, off.max())


def test_each_image_gets_its_own_operations():
    images = np.stack([IMAGES[0]] * 60)
    keys = example_keys(np.uint32(0), np.uint32(0), np.arange(60, dtype=np.uint32))
    by = jax.jit(augment, static_argnums=0)
    changed = np.asarray(by(Augment(operations=1), images, keys))
    assert 12 <= len({image.tobytes() for image in changed}) <= 28  # 13 of them have two signs
    which = jnp.int32(OPERATIONS.index("solarize"))
    solarized = jax.jit(operation)(jnp.asarray(IMAGES[0], jnp.float32), which, jnp.float32(0.3))
    assert any(np.array_equal(image, solarized) for image in changed)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert (changed == np.round(changed)).all()


def test_what_does_not_fit_is_refused():
    floats = {"image": np.ones((4, 3, 3, 1), np.float32), "label": np.zeros(4, int)}
    with pytest.raises(Mistake, match=r"operations is 2, but the images are float32: it is for"):
        Classify(MLP(), augment=Augment(operations=2)).fitted(load(Arrays(floats, floats)).about)
    with pytest.raises(Mistake, match="magnitude is 31: give 0 to 30"):
        Augment(operations=2, magnitude=31)
