"""CIFAR-10 and CIFAR-100 from their "python version": a folder, or its tar.gz."""

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jbatch.errors import Mistake
from jbatch.prepare.examples import Examples, Read, check_count, png

SHAPE = (3, 32, 32)
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
COUNTS = {  # examples in each official file
    **dict.fromkeys([*BATCHES, "test_batch"], 10_000),
    "train": 50_000,
    "test": 10_000,
}


def read_cifar10(source: Path) -> Read:
    """From data_batch_1 … 5, test_batch and batches.meta."""
    load = _loader(source, "batches.meta")
    kinds = {b"labels": 10}
    train = [_batch(load, name, kinds) for name in BATCHES]
    test = _batch(load, "test_batch", kinds)
    names = _names(load, "batches.meta", b"label_names")
    label = {"label": b"labels"}
    return Read(
        {"train": _examples("train", train, label), "test": _examples("test", [test], label)},
        {"label": names},
    )


def read_cifar100(source: Path) -> Read:
    """From train, test and meta."""
    load = _loader(source, "meta")
    kinds = {b"fine_labels": 100, b"coarse_labels": 20}
    label = {"label": b"fine_labels", "coarse_label": b"coarse_labels"}
    return Read(
        {
            "train": _examples("train", [_batch(load, "train", kinds)], label),
            "test": _examples("test", [_batch(load, "test", kinds)], label),
        },
        {
            "label": _names(load, "meta", b"fine_label_names"),
            "coarse_label": _names(load, "meta", b"coarse_label_names"),
        },
    )


def _loader(source: Path, first: str) -> Callable[[str], dict]:
    """Reads one of the official files by its name; `first` is one that must be there."""
    if source.is_dir():
        # The folder itself, or the one that it was unpacked into.
        folders = (source, *source.glob("cifar-*"))
        folder = next((path for path in folders if (path / first).exists()), source)

        def load(name: str) -> dict:
            if not (folder / name).exists():
                raise Mistake(f"{folder} has no {name}: give the folder of the official files")
            return _unpickled(folder / name, (folder / name).read_bytes())

        return load
    try:
        with tarfile.open(source) as archive:
            files = {
                Path(member.name).name: archive.extractfile(member).read()
                for member in archive
                if member.isfile()
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise Mistake(f"{source} does not read to its end ({error}): fetch it again") from error

    def load(name: str) -> dict:
        if name not in files:
            raise Mistake(f"{source} has no {name}: give the official archive (python version)")
        return _unpickled(f"{name} in {source}", files[name])

    return load


class _ArraysOnly(pickle.Unpickler):
    """Builds what the official files hold and nothing else: a pickle may run any code."""

    def find_class(self, module: str, name: str):
        """Only NumPy's arrays."""
        if (module.split(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes protocol 2
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it would run {module}.{name}")


def _unpickled(what: object, data: bytes) -> dict:
    try:
        found = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(found, dict):
            raise TypeError(f"it holds a {type(found).__name__}")
    except Exception as error:  # a damaged pickle may raise anything
        raise Mistake(f"{what} is no CIFAR file, or damaged ({error}): fetch it again") from error
    return found


def _batch(load: Callable, name: str, labels: dict[bytes, int]) -> dict:
    """A checked file: data (count, 3, 32, 32) uint8 and its labels."""
    batch, count = load(name), COUNTS[name]
    images = batch.get(b"data")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2:
        raise Mistake(f"{name} has no array of images: it is damaged; fetch it again")
    check_count(name, len(images), count)
    if images.shape[1] != np.prod(SHAPE):
        raise Mistake(f"{name} has images of {images.shape[1]} values, not 3,072: fetch it again")
    for key, classes in labels.items():
        found = np.asarray(batch.get(key, []))
        check_count(f"{name}'s {key.decode()}", len(found), count)
        if found.min() < 0 or found.max() >= classes:
            raise Mistake(f"{name} has labels outside 0 to {classes - 1}: fetch it again")
    return {b"data": images.reshape(-1, *SHAPE), **{key: batch[key] for key in labels}}


def _names(load: Callable, file: str, key: bytes) -> list[str]:
    return [name.decode() for name in load(file)[key]]


def _examples(split: str, batches: list[dict], labels: dict[str, bytes]) -> Examples:
    images = np.concatenate([batch[b"data"] for batch in batches])
    columns = {
        feature: np.concatenate([batch[key] for batch in batches])
        for feature, key in labels.items()
    }

    def example(index: int) -> dict:
        return {
            "id": f"{split}_{index:05d}",
            "image": png(images[index].transpose(1, 2, 0)),
            **{feature: int(column[index]) for feature, column in columns.items()},
        }

    return Examples(len(images), images.size * 3 // 4, example)
