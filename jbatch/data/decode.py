"""From the file of a photograph to the pixels that a network sees."""

import io
import threading
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg

from jbatch.data.crops import Box


class DamagedImage(ValueError):
    """A file that does not decode."""


def decode(data: bytes, crop: Callable[[int, int], Box], out: np.ndarray) -> None:
    """Decode a part of an image, resized to a square, into `out`.

    A JPEG is decoded at a half, a quarter or an eighth of its size, where the part then still has
    the pixels that are asked for; the rest of the way is bilinear. What only Pillow reads (CMYK, or
    a PNG whatever its name) goes through it. An orientation noted in EXIF is left alone, as the
    usual pipelines do.

    Args:
        data: a JPEG or PNG file.
        crop: (height, width) of the whole image → the part.
        out: (size, size, 3) uint8, red, green, blue.

    Raises:
        DamagedImage: if it does not decode to its end.
    """
    size = len(out)
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        box = crop(height, width)
        image = _jpeg(data, height, width, min(box.height, box.width) // size)
    except ValueError:  # simplejpeg's only one
        image = _by_pillow(data)
        height, width, _ = image.shape
        box = crop(height, width)
    part = cut_out(image, height, width, box)
    cv2.resize(part, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)


_scratch = threading.local()  # page faults of fresh memory would cost a tenth of decoding


def _jpeg(data: bytes, height: int, width: int, reduction: int) -> np.ndarray:
    """The whole image at the largest of libjpeg's quick scales 1/1, 1/2, 1/4, 1/8 ≥ 1/reduction."""
    factor = next(quick for quick in (8, 4, 2, 1) if quick <= max(reduction, 1))
    height, width = -(-height // factor), -(-width // factor)
    needed = height * width * 3
    if len(getattr(_scratch, "buffer", ())) < needed:
        _scratch.buffer = np.empty(needed, np.uint8)
    return simplejpeg.decode_jpeg(
        data, "RGB", min_height=height, min_width=width, min_factor=factor, buffer=_scratch.buffer
    )


def cut_out(image: np.ndarray, height: int, width: int, box: Box) -> np.ndarray:
    """A part, in pixels of the (height, width) that `image` had before it was scaled."""
    down, right = image.shape[0] / height, image.shape[1] / width
    top, left = int(box.top * down), int(box.left * right)
    bottom = max(top + 1, round((box.top + box.height) * down))
    end = max(left + 1, round((box.left + box.width) * right))
    return image[top:bottom, left:end]


def _by_pillow(data: bytes) -> np.ndarray:
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken files
        raise DamagedImage(str(error)) from error
