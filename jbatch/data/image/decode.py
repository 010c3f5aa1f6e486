"""From the file of a photograph to the pixels that a network sees."""

import threading
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg

from jbatch.data.image.crops import Box
from jbatch.data.image.picture import DamagedImage, check_size, decoded, open_picture
from jbatch.data.image.records import File


def decode(file: File, crop: Callable[[int, int], Box], out: np.ndarray) -> None:
    """Decode a part of an image, resized to a square, into `out`.

    It is first reduced to a half, a quarter or an eighth, where the part then still has the pixels
    that are asked for (a JPEG while it is decoded); the rest of the way is bilinear. What
    simplejpeg does not read (CMYK, or a PNG whatever its name) goes through Pillow. An orientation
    noted in EXIF is left alone, as the usual pipelines do.

    Args:
        file: a JPEG or PNG file.
        crop: (height, width) of the whole image → the part.
        out: (size, size, 3) uint8, red, green, blue.

    Raises:
        DamagedImage: if it does not decode to its end.
    """
    if file.data is None:
        raise DamagedImage(file.problem)
    part = _of_jpeg(file.data, crop, len(out))
    if part is None:
        part = _of_any(file.data, crop, len(out))
    cv2.resize(part, out.shape[:2], dst=out, interpolation=cv2.INTER_LINEAR)


def _of_jpeg(data: bytes, crop: Callable[[int, int], Box], size: int) -> np.ndarray | None:
    """The part of a JPEG, reduced; None for what simplejpeg does not read."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # all that it raises
        return None
    check_size(width, height)
    box = crop(height, width)
    try:
        image = _jpeg(data, height, width, _reduction(box, size))
    except ValueError:
        return None
    return cut_out(image, height, width, box)


def _of_any(data: bytes, crop: Callable[[int, int], Box], size: int) -> np.ndarray:
    """The part of any image, reduced."""
    whole = _by_pillow(data)
    width, height = whole.size
    box = crop(height, width)
    return cut_out(np.asarray(whole.reduce(_reduction(box, size))), height, width, box)


def _reduction(box: Box, size: int) -> int:
    """1, 2, 4 or 8: the largest that leaves a part `size` pixels each way."""
    return next(n for n in (8, 4, 2, 1) if n <= max(min(box.height, box.width) // size, 1))


_scratch = threading.local()  # page faults of fresh memory would cost a tenth of decoding


def _jpeg(data: bytes, height: int, width: int, reduction: int) -> np.ndarray:
    """The whole image, reduced by 1, 2, 4 or 8, in memory that the next one takes again."""
    height, width = -(-height // reduction), -(-width // reduction)
    needed = height * width * 3
    if len(getattr(_scratch, "buffer", ())) < needed:
        _scratch.buffer = np.empty(needed, np.uint8)
    return simplejpeg.decode_jpeg(
        data,
        "RGB",
        min_height=height,
        min_width=width,
        min_factor=reduction,
        buffer=_scratch.buffer,
    )


def _by_pillow(data: bytes):
    """The whole image, as Pillow's, in red, green and blue."""
    image = open_picture(data)
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip
        from PIL import Image

        image = Image.fromarray((np.asarray(decoded(image, "I")) // 257).astype(np.uint8))
    return decoded(image, "RGB")


def cut_out(image: np.ndarray, height: int, width: int, box: Box) -> np.ndarray:
    """A part, in pixels of the (height, width) that `image` had before it was scaled."""
    down, right = image.shape[0] / height, image.shape[1] / width
    top, left = int(box.top * down), int(box.left * right)
    bottom = max(top + 1, round((box.top + box.height) * down))
    end = max(left + 1, round((box.left + box.width) * right))
    return image[top:bottom, left:end]
