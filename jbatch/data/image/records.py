"""The files of a split, any of them at any time, as workers read them."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from jbatch.data.image import folder as image_folder
from jbatch.data.image.photographs import ImageFolder
from jbatch.data.image.tfds import TFDS, open_builder
from jbatch.errors import Mistake
from jbatch.files import expanded, read_whole


class File(NamedTuple):
    """One example as it lies on disk."""

    name: str  # for a person to find it
    data: bytes | None  # JPEG or PNG; None if it cannot be read
    label: int
    problem: str = ""  # why


class Records(Protocol):
    """A split; picklable."""

    count: int

    def digest(self) -> str:
        """SHA-256 of which examples it holds, wherever they lie; no example is read for it."""

    def read(self, indices: Sequence[int]) -> list[File]:
        """The files at these indices, 0 ≤ index < count; Mistake if none can be read at all."""


class Splits(NamedTuple):
    """What is trained and evaluated on."""

    train: Records
    test: Records
    num_classes: int


def open_records(source: TFDS | ImageFolder) -> Splits:
    """Both splits; Mistake if they are not there, or not whole."""
    if isinstance(source, ImageFolder):
        return _open_folder(source)
    builder = open_builder(source, source.data_dir)
    classes = builder.info.features["label"].num_classes
    train, test = (
        TFDSRecords(
            source, source.data_dir, split, builder.info.splits[split].num_examples, classes
        )
        for split in (source.train, source.test)
    )
    return Splits(train, test, classes)


@dataclass(frozen=True)
class TFDSRecords:
    """A split of a data set of TensorFlow Datasets, in ArrayRecord."""

    data: TFDS
    data_dir: str | None
    split: str
    count: int
    num_classes: int

    def digest(self) -> str:
        """Of the set's name, version and classes, and of its shards the examples and the bytes."""
        from etils import epath

        info = open_builder(self.data, self.data_dir).info
        split = info.splits[self.split]
        sizes = [epath.Path(path).stat().length for path in split.filepaths]
        names = info.features["label"].names
        what = f"{info.full_name} {self.split} {names} {split.shard_lengths} {sizes}"
        return hashlib.sha256(what.encode()).hexdigest()

    def read(self, indices: Sequence[int]) -> list[File]:
        """By ArrayRecord's own parallel reads."""
        source = _data_source(self.data, self.data_dir, self.split)
        try:
            examples = source.__getitems__(list(indices))
        except (RuntimeError, OSError) as error:  # ArrayRecord's
            raise Mistake(
                f"{self.split} of {self.data.name} is damaged at one of the examples "
                f"{sorted(indices)} ({error}): write it anew"
            ) from error
        return [
            File(_name(example, self, index), example["image"], self._label(example, index))
            for index, example in zip(indices, examples, strict=True)
        ]

    def _label(self, example: dict, index: int) -> int:
        label = int(example["label"])
        if not 0 <= label < self.num_classes:
            raise Mistake(
                f"{_name(example, self, index)} has the label {label}, not one within 0 to "
                f"{self.num_classes - 1}: leave out examples without a label"
            )
        return label


def _name(example: dict, records: TFDSRecords, index: int) -> str:
    name = f"example {index:,} of {records.data.name} {records.split}"
    file_name = example.get("file_name")
    return f"{file_name.decode()} ({name})" if file_name else name


@lru_cache(2)  # both splits; once in each process
def _data_source(data: TFDS, data_dir: str | None, split: str):
    import tensorflow_datasets as tfds

    builder = open_builder(data, data_dir)
    return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})


@dataclass(frozen=True, eq=False)
class FolderRecords:
    """A split of an image folder."""

    path: Path
    names: np.ndarray  # (count,) bytes, relative to path: a list of strings would be far larger
    labels: np.ndarray  # (count,) int32
    sizes: np.ndarray  # (count,) int64, bytes of each file

    @property
    def count(self) -> int:
        """Files."""
        return len(self.names)

    def digest(self) -> str:
        """Of the files' names, classes and sizes in bytes."""
        hashed = hashlib.sha256()
        for array in (self.names, self.labels, self.sizes):
            hashed.update(array.tobytes())
        return hashed.hexdigest()

    def read(self, indices: Sequence[int]) -> list[File]:
        """One by one."""
        return [self._file(index) for index in indices]

    def _file(self, index: int) -> File:
        path, label = os.fsdecode(self.names[index]), int(self.labels[index])
        name = f"{path} (example {index:,})"
        try:
            return File(name, read_whole(self.path / path), label)
        except OSError as error:
            return File(name, None, label, error.strerror)


def _open_folder(source: ImageFolder) -> Splits:
    folder = expanded(Path(source.path))
    if not folder.is_dir():
        raise Mistake(f"{folder} is no folder: give one that holds train/CLASS/*")
    files = image_folder.files(folder)
    for split in (source.train, source.test):
        if split not in files:
            raise Mistake(
                f"{folder} has images of {', '.join(sorted(files))}, none of {split}: set "
                "train and test to those, or add the folder"
            )
    numbers = {name: n for n, name in enumerate(image_folder.class_names(folder, files))}
    train, test = (
        FolderRecords(
            folder,
            np.array([os.fsencode(file.name) for file in files[split]]),
            np.array([numbers[file.label] for file in files[split]], np.int32),
            np.array([file.num_bytes for file in files[split]], np.int64),
        )
        for split in (source.train, source.test)
    )
    return Splits(train, test, len(numbers))
