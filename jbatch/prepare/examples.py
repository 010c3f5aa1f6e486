"""What a reader finds in somebody's files."""

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jbatch.errors import Mistake


class Examples(NamedTuple):
    """A split: any of its examples, as features, at any time."""

    count: int
    num_bytes: int  # about, when written: decides on the number of files
    digest: str  # SHA-256 of what tells the source's files from others
    example: Callable[[int], Mapping]  # index → features
    problem: Callable[[int], str] | None = None  # index → what is wrong with it, if it may be


class Read(NamedTuple):
    """A data set."""

    splits: Mapping[str, Examples]
    class_names: Mapping[str, list[str]]  # of each label, where the files say them


def png(image: np.ndarray) -> io.BytesIO:
    """A (H, W, 3) or (H, W, 1) uint8 image as a PNG file, losslessly."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    file.seek(0)
    return file


def check_count(what: object, found: int, expected: int) -> None:
    """See that a file holds what it should."""
    if found != expected:
        raise Mistake(
            f"{what} holds {found:,} examples and should hold {expected:,}: it is damaged or "
            "another file; fetch it again"
        )


def digest_of(*arrays: np.ndarray) -> str:
    """SHA-256 of what arrays hold."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array))
    return hashed.hexdigest()
