"""Decoding an image file to the pixels of the network's input."""

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from jbatch.data.image.crops import Box
from jbatch.data.image.picture import DamagedImage, check_size, decoded, open_picture
from jbatch.data.image.records import File
from jbatch.upstream_words import ROWS_LEFT

if TYPE_CHECKING:
    from PIL import Image

SEEN_BELOW = 4  # rows that the upsampling of colours looks at, below the row that it makes
ONE_SCAN = (0xC0, 0xC1)  # markers of frames
OTHERS = (0xC2, 0xC3, 0xDA, 0xFF)  # the first scan is after any frame; 0xFF only fills


def decode(file: File, crop: Callable[[int, int], Box], out: npt.NDArray[np.uint8]) -> None:
    """Decode a part of an image, resized to a square, into `out`.

    The image is first reduced to 1/2, 1/4 or 1/8, as long as the part keeps at least `size` pixels
    each way. A JPEG is reduced while it is decoded, and decoded only down to the part's last row.
    Bilinear resizing does the rest. Pillow decodes the files that simplejpeg cannot: CMYK JPEGs,
    and PNGs under any name. The orientation in EXIF is ignored, as in most input pipelines.

    Args:
        file: a JPEG or PNG file.
        crop: maps (height, width) of the whole image to the part.
        out: (size, size, 3) uint8, in red, green, blue.

    Raises:
        DamagedImage: if the file does not decode to the end of the part, or is cut short. Below the
            part, a file with restart markers may be.
    """
    if file.data is None:
        raise DamagedImage(file.problem)
    part = _of_jpeg(file.data, crop, len(out))
    if part is None:
        part = _of_any(file.data, crop, len(out))
    cv2.resize(part, out.shape[:2], dst=out, interpolation=cv2.INTER_LINEAR)


def _of_jpeg(
    data: bytes, crop: Callable[[int, int], Box], size: int
) -> npt.NDArray[np.uint8] | None:
    """Decode a part of a JPEG, reduced; return None if simplejpeg cannot read the file."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # the only exception it raises
        return None
    check_size(width, height)
    box = crop(height, width)
    reduction = _reduction(box, size)
    last = box.top + box.height + SEEN_BELOW * reduction
    try:
        image = _jpeg(*_cut_below(data, height, last), height, width, reduction)
    except ValueError:
        return None
    return cut_out(image, height, width, box)


def _of_any(data: bytes, crop: Callable[[int, int], Box], size: int) -> npt.NDArray[np.uint8]:
    """Decode a part of any image, reduced."""
    whole = _by_pillow(data)
    width, height = whole.size
    box = crop(height, width)
    return cut_out(np.asarray(whole.reduce(_reduction(box, size))), height, width, box)


def _reduction(box: Box, size: int) -> int:
    """Choose the largest of 1, 2, 4 and 8 that leaves the part `size` pixels each way."""
    return next(n for n in (8, 4, 2, 1) if n <= max(min(box.height, box.width) // size, 1))


def _cut_below(data: bytes, height: int, rows: int) -> tuple[bytes, int]:
    """Return a JPEG whose frame says that it ends after so many rows, and the rows that it says.

    The decoder then stops there. Only frames of one scan (baseline and extended sequential) keep
    their first rows so. Others are returned as they are.
    """
    place = 2
    while rows < height and data[place : place + 1] == b"\xff":
        marker = data[place + 1]
        if marker in ONE_SCAN and data[place + 5 : place + 7] == height.to_bytes(2):
            rest = memoryview(data)[place + 7 :]  # copied once, not twice
            return b"".join((data[: place + 5], rows.to_bytes(2), rest)), rows
        if marker in OTHERS:
            break
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return data, height


_scratch = threading.local()  # with fresh memory each time, page faults would cost 10% of decoding


def _jpeg(data: bytes, rows: int, height: int, width: int, reduction: int) -> npt.NDArray[np.uint8]:
    """Decode a JPEG, reduced by 1, 2, 4 or 8, into memory that the next call reuses.

    Args:
        data: the file.
        rows: that it has.
        height: of the image that is returned; rows that the file does not have are anything.
        width: of the image.
        reduction: of both.
    """
    height, width = -(-height // reduction), -(-width // reduction)
    needed = height * width * 3
    if len(getattr(_scratch, "buffer", ())) < needed:
        _scratch.buffer = np.empty(needed, np.uint8)
    try:
        simplejpeg.decode_jpeg(
            data,
            "RGB",
            min_height=-(-rows // reduction),
            min_width=width,
            min_factor=reduction,
            buffer=_scratch.buffer,
        )
    except ValueError as error:
        # The first fault of the file is what is left of it: all rows before it are decoded.
        if not re.search(ROWS_LEFT, str(error)):
            raise
    found: npt.NDArray[np.uint8] = _scratch.buffer[:needed].reshape(height, width, 3)
    return found


def _by_pillow(data: bytes) -> "Image.Image":
    """Decode a whole image with Pillow, in red, green and blue."""
    image = open_picture(data)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip to 8 bits
        from PIL import Image

        image = Image.fromarray((np.asarray(decoded(image, "I")) // 257).astype(np.uint8))
    return decoded(image, "RGB")


def cut_out(
    image: npt.NDArray[np.uint8], height: int, width: int, box: Box
) -> npt.NDArray[np.uint8]:
    """Cut out a part; `box` counts the pixels of (height, width), the size before scaling."""
    down, right = image.shape[0] / height, image.shape[1] / width
    top, left = int(box.top * down), int(box.left * right)
    bottom = max(top + 1, round((box.top + box.height) * down))
    end = max(left + 1, round((box.left + box.width) * right))
    return image[top:bottom, left:end]
