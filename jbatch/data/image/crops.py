"""Choosing the part of an image that the network sees."""

import math
from typing import NamedTuple

import numpy as np

AREA = (0.08, 1.0)  # share of the image's area (Szegedy et al., arXiv 1409.4842, section 6)
ASPECT = (3 / 4, 4 / 3)  # width over height
ATTEMPTS = 10
STREAM = 1 << 32  # keeps these keys apart from `order.epoch_order`'s, whose seeds are below this


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def random_crop(seed: int, position: int, height: int, width: int) -> Box:
    """Choose a part of random area and aspect ratio, which training resizes to a square.

    The result depends only on seed, position and the image's size (Szegedy et al., arXiv
    1409.4842). If none of ten attempts fits into the image, the result is the largest central part
    with an allowed aspect ratio.
    """
    words = np.random.Philox(key=[STREAM + seed, position]).random_raw(4 * ATTEMPTS)
    for area, aspect, down, right in ((words >> 11) * 2.0**-53).reshape(ATTEMPTS, 4).tolist():
        area = height * width * (AREA[0] + area * (AREA[1] - AREA[0]))
        low, high = map(math.log, ASPECT)
        aspect = math.exp(low + aspect * (high - low))
        box_height, box_width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < box_height <= height and 0 < box_width <= width:
            top = int(down * (height - box_height + 1))
            left = int(right * (width - box_width + 1))
            return Box(top, left, box_height, box_width)
    box_width = min(width, round(height * ASPECT[1]))
    box_height = min(height, round(width / ASPECT[0]))
    return _central(box_height, box_width, height, width)


def central_crop(share: float, height: int, width: int) -> Box:
    """Choose the central square whose side is `share` of the shorter side, for evaluation.

    A share of 0.875 covers what resizing the shorter side to 256 and cropping 224 covers.
    """
    side = max(1, round(share * min(height, width)))
    return _central(side, side, height, width)


def _central(box_height: int, box_width: int, height: int, width: int) -> Box:
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
