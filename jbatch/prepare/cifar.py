"""Reading CIFAR-10 and CIFAR-100 from their "python version", a folder or its tar.gz."""

import io
import lzma
import math
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, said
from jbatch.files import read_whole
from jbatch.prepare.examples import Examples, Read, check_count, digest_of, png

SHAPE = (3, 32, 32)
MOST_UNPACKED = 1 << 28  # bytes of an unpacked archive; the official ones have 177 and 169 million
PLAIN = {"u1": "u1", "i8": "<i8", "i4": "<i4"}  # dtypes of the arrays, in every official form
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
COUNTS = {  # examples in each official file
    **dict.fromkeys([*BATCHES, "test_batch"], 10_000),
    "train": 50_000,
    "test": 10_000,
}

Load = Callable[[str], dict[bytes, Any]]  # name of an official file → what it holds
Batch = dict[bytes, npt.NDArray[Any]]  # images and labels by their names in the file


def read_cifar10(source: Path) -> Read:
    """Read CIFAR-10 from data_batch_1 … 5, test_batch and batches.meta."""
    load = _loader(source, "batches.meta")
    kinds = {b"labels": 10}
    train = [_batch(load, name, kinds) for name in BATCHES]
    test = _batch(load, "test_batch", kinds)
    names = _names(load, "batches.meta", b"label_names", 10)
    label = {"label": b"labels"}
    return Read(
        {"train": _examples("train", train, label), "test": _examples("test", [test], label)},
        {"label": names},
    )


def read_cifar100(source: Path) -> Read:
    """Read CIFAR-100 from train, test and meta."""
    load = _loader(source, "meta")
    kinds = {b"fine_labels": 100, b"coarse_labels": 20}
    label = {"label": b"fine_labels", "coarse_label": b"coarse_labels"}
    return Read(
        {
            "train": _examples("train", [_batch(load, "train", kinds)], label),
            "test": _examples("test", [_batch(load, "test", kinds)], label),
        },
        {
            "label": _names(load, "meta", b"fine_label_names", 100),
            "coarse_label": _names(load, "meta", b"coarse_label_names", 20),
        },
    )


def _loader(source: Path, first: str) -> Load:
    """Make a function that reads an official file by name; `first` is one that must exist."""
    if source.is_dir():
        # The folder itself, or the one inside it that the archive unpacks to.
        folders = (source, *source.glob("cifar-*"))
        folder = next((path for path in folders if (path / first).exists()), source)

        def load(name: str) -> dict[bytes, Any]:
            if not (folder / name).exists():
                raise Mistake(
                    f"{folder} has no {name}: give the folder that holds the official files"
                )
            return _unpickled(folder / name, _read(folder / name))

        return load
    members = _members(source, {*COUNTS, first})

    def unpacked(name: str) -> dict[bytes, Any]:
        if name not in members:
            raise Mistake(f"{source} has no {name}: give the official archive (python version)")
        return _unpickled(f"{name} in {source}", members[name])

    return unpacked


def _members(source: Path, wanted: set[str]) -> dict[str, bytes]:
    """Read the official files of an archive, by name.

    A small archive may unpack to any size, so jbatch checks each member's size before it unpacks
    it, and refuses more than the official archive holds. It keeps no other file.
    """
    found = {}
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.offset_data + member.size > MOST_UNPACKED or member.issparse():
                    raise Mistake(
                        f"{source}: {member.name} is larger than the official archive allows: "
                        "download it again"
                    )
                name = PurePosixPath(member.name).name
                if member.isfile() and name in wanted:
                    if name in found:
                        raise Mistake(f"{source} has {name} twice: download it again")
                    content = archive.extractfile(member)
                    assert content is not None  # as it is a file
                    found[name] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError) as error:
        why = said(error).partition(": -")[0]  # tarfile goes on with what each method said
        raise Mistake(f"{source} cannot be read to its end ({why}): download it again") from error
    return found


def _read(path: Path) -> bytes:
    try:
        return read_whole(path, most=MOST_UNPACKED)
    except OSError as error:
        raise Mistake(f"{path} cannot be read ({error.strerror}): download it again") from error


class _Array:
    """A pickle's description of an array; `made` checks it and builds the array.

    NumPy's own arrays trust the pickle. A pickle can make one of objects whose addresses are the
    file's bytes, which crashes the interpreter.
    """

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def made(self) -> npt.NDArray[Any]:
        """Build the array.

        Raises:
            ValueError: if it is no array of plain numbers, or its shape and bytes disagree.
        """
        _, shape, dtype, columns_first, data = self.state
        if not (isinstance(dtype, _Dtype) and isinstance(data, bytes) and columns_first is False):
            raise ValueError("it holds an array of other things than numbers")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("it holds an array with an invalid shape")
        kind = np.dtype(PLAIN[dtype.code])
        if math.prod(shape) * kind.itemsize != len(data):
            raise ValueError("it holds an array whose bytes do not match its shape")
        return np.frombuffer(data, kind).reshape(shape)


class _Dtype:
    """A pickle's description of a dtype."""

    def __init__(self, code: Any, *_: object) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code
        if self.code not in PLAIN:
            raise ValueError(f"it holds an array of dtype {self.code!r}")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and the like: PLAIN has them."""


class _ArraysOnly(pickle._Unpickler):
    """Unpickles only what the official files hold, because a pickle can run any code.

    It uses Python's unpickler: the one in C allocates whatever size a pickle of nine bytes asks
    for.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Find a stand-in for a class of NumPy; refuse any other."""
        known = {"_reconstruct": _Array, "ndarray": _Array, "dtype": _Dtype}
        if module.split(".")[0] == "numpy" and name in known:
            return known[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return _encoded
        raise pickle.UnpicklingError(f"it would run {module}.{name}")


def _encoded(text: str, encoding: str) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("its bytes are not encoded as Python does")
    return text.encode("latin1")


def _unpickled(what: object, data: bytes) -> dict[bytes, Any]:
    try:
        found = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(found, dict):
            raise TypeError(f"it holds a {type(found).__name__}")
        return {
            key: value.made() if isinstance(value, _Array) else value
            for key, value in found.items()
        }
    except Exception as error:  # a damaged pickle can raise anything
        raise Mistake(
            f"{what} is no CIFAR file, or damaged ({error}): download it again"
        ) from error


def _batch(load: Load, name: str, labels: dict[bytes, int]) -> Batch:
    """Read a file and check it: data (count, 3, 32, 32) uint8 and its labels (count,) int64."""
    batch, count = load(name), COUNTS[name]
    images = batch.get(b"data")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2:
        raise Mistake(f"{name} is damaged, it has no array of images: download it again")
    check_count(name, len(images), count)
    if images.shape[1] != math.prod(SHAPE):
        raise Mistake(
            f"{name} has images of {images.shape[1]} values, not 3,072: download it again"
        )
    checked = {}
    for key, classes in labels.items():
        found = batch.get(key)
        if isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind in "iu":
            found = found.tolist()
        if not isinstance(found, list):
            raise Mistake(f"{name} is damaged, it has no list of {key.decode()}: download it again")
        check_count(f"{name}'s {key.decode()}", len(found), count)
        if not all(type(label) is int for label in found):
            raise Mistake(f"{name} has {key.decode()} that are not integers: download it again")
        if min(found) < 0 or max(found) >= classes:
            raise Mistake(f"{name} has labels outside 0 to {classes - 1}: download it again")
        checked[key] = np.array(found, np.int64)
    return {b"data": images.reshape(-1, *SHAPE), **checked}


def _names(load: Load, file: str, key: bytes, classes: int) -> list[str]:
    """Read the names of the classes.

    Raises:
        Mistake: if they are not `classes` different printable names.
    """
    listed: Any = load(file).get(key)
    try:
        names = [name.decode() for name in listed]
        if len(set(names)) != classes or not all(map(str.isprintable, names)):
            raise ValueError
    except (TypeError, AttributeError, ValueError):
        raise Mistake(
            f"{file} is damaged, its {key.decode()} do not name {classes} classes: download it "
            "again"
        ) from None
    return names


def _examples(split: str, batches: list[Batch], labels: dict[str, bytes]) -> Examples:
    images = np.concatenate([batch[b"data"] for batch in batches])
    columns = {
        feature: np.concatenate([batch[key] for batch in batches])
        for feature, key in labels.items()
    }

    def example(index: int) -> dict[str, Any]:
        return {
            "id": f"{split}_{index:05d}",
            "image": png(images[index].transpose(1, 2, 0)),
            **{feature: int(column[index]) for feature, column in columns.items()},
        }

    digest = digest_of(images, *columns.values())
    return Examples(len(images), images.size * 3 // 4, digest, example)
