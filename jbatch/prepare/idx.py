"""Reading MNIST, Fashion-MNIST and KMNIST from their four idx files, compressed or not."""

import errno
import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake
from jbatch.files import read_whole
from jbatch.prepare.examples import Examples, Read, check_count, digest_of, png

SIDE = 28  # pixels
FILES = {"train": ("train", 60_000), "test": ("t10k", 10_000)}  # split: prefix, examples


def read(source: Path) -> Read:
    """Read train-images-idx3-ubyte, train-labels-idx1-ubyte and the two t10k files."""
    if not source.is_dir():
        raise Mistake(f"{source} is a file: give the folder that holds the four idx files")
    return Read({split: _split(source, *what) for split, what in FILES.items()}, {})


def _split(folder: Path, prefix: str, count: int) -> Examples:
    images = _array(folder, f"{prefix}-images-idx3-ubyte", 3, count * SIDE * SIDE)
    labels = _array(folder, f"{prefix}-labels-idx1-ubyte", 1, count)
    check_count(f"{prefix}-images-idx3-ubyte", len(images), count)
    check_count(f"{prefix}-labels-idx1-ubyte", len(labels), count)
    if images.shape[1:] != (SIDE, SIDE) or labels.max() > 9:
        raise Mistake(
            f"{folder}/{prefix}-… has images of {images.shape[1:]} and labels to {labels.max()}, "
            "not (28, 28) and 9: give the official files"
        )

    def example(index: int) -> dict[str, Any]:
        return {"image": png(images[index, ..., None]), "label": int(labels[index])}

    return Examples(len(images), images.size // 2, digest_of(images, labels), example)


def _array(folder: Path, name: str, dimensions: int, most: int) -> npt.NDArray[np.uint8]:
    """Read a uint8 array from an idx file: 0, 0, 8, dimensions, then sizes as big-endian uint32.

    A file of kilobytes may unpack to gigabytes, so jbatch reads at most `most` values and a header.
    """
    # Some unpackers write the first dash of "-idx" as a dot.
    names = [f"{form}{end}" for form in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    path = next((folder / found for found in names if (folder / found).exists()), None)
    if path is None:
        raise Mistake(f"{folder} has no {name} and no {name}.gz: give the folder of all four files")
    most += 4096
    try:
        data = read_whole(path, most=2 * most)
        if path.suffix == ".gz":
            with gzip.open(io.BytesIO(data)) as unpacked:
                data = unpacked.read(most + 1)
        if len(data) > most:
            raise OSError(errno.EFBIG, "it has more values than the official file")
    except (OSError, EOFError, zlib.error) as error:
        raise Mistake(
            f"{path} cannot be unpacked to its end ({error}): download it again"
        ) from error
    header = 4 * (1 + dimensions)
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) < header:
        raise Mistake(
            f"{path} is no idx file of uint8 in {dimensions} dimensions: download it again"
        )
    sizes = struct.unpack_from(f">{dimensions}I", data, 4)
    if len(data) - header != math.prod(sizes):
        raise Mistake(
            f"{path} should hold {' × '.join(map(str, sizes))} bytes, but holds "
            f"{len(data) - header:,}: download it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(sizes)
