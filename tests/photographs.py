"""Small photographs for the tests: smooth, so that JPEG changes them little, and each its own."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bird", "cat", "dog")


def picture(number: int, height: int = 60, width: int = 80) -> np.ndarray:
    """(height, width, 3) uint8: a colour gradient that no other number has, tinted by class."""
    rng = np.random.default_rng(number)
    corners = rng.uniform(20, 185, (2, 2, 3))
    corners[..., number % len(CLASSES)] += 50
    down, right = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[:, None]
    top, bottom = (row[0] * (1 - right) + row[1] * right for row in corners)
    return (top * (1 - down) + bottom * down).astype(np.uint8)


def encoded(image: np.ndarray | Image.Image, form: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, form, **({"quality": 95} | options if form == "JPEG" else options))
    return file.getvalue()


def write_folder(path: Path, train: int, test: int) -> Path:
    """train/CLASS/*.jpg and val/CLASS/*.jpg, of several sizes, the classes in turn."""
    for split, count in (("train", train), ("val", test)):
        for number in range(count):
            name = CLASSES[number % len(CLASSES)]
            file = path / split / name / f"{number:04}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = picture(number + 9_999 * (split == "val"), 40 + number % 30, 50 + number % 20)
            file.write_bytes(encoded(image))
    return path
