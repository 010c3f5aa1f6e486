"""The result of reading a dataset's files."""

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake


class Examples(NamedTuple):
    """A split, with random access to its examples as features."""

    count: int  # type: ignore[assignment]  # hides tuple.count
    num_bytes: int  # estimate of the written size; it decides the number of files
    digest: str  # SHA-256 that tells these source files from others
    example: Callable[[int], Mapping[str, Any]]  # index → features
    problem: Callable[[int], str] | None = None  # index → problem or ""; None: all are checked


class Read(NamedTuple):
    """A dataset."""

    splits: Mapping[str, Examples]
    class_names: Mapping[str, list[str]]  # for each label whose names are in the files


def png(image: npt.NDArray[np.uint8]) -> io.BytesIO:
    """Encode a (H, W, 3) or (H, W, 1) uint8 image as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    file.seek(0)
    return file


def check_count(what: object, found: int, expected: int) -> None:
    """Check the number of examples in a file.

    Raises:
        Mistake: if it is not `expected`.
    """
    if found != expected:
        raise Mistake(
            f"{what} holds {found:,} examples and should hold {expected:,}. It is damaged or "
            "another file: download it again"
        )


def digest_of(*arrays: npt.NDArray[Any]) -> str:
    """Hash the contents of arrays (SHA-256)."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()
