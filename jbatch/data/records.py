"""The files of a split, any of them at any time, as workers read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from jbatch.data.photographs import ImageFolder
from jbatch.data.tfds import TFDS, open_builder
from jbatch.errors import Mistake
from jbatch.prepare import image_folder


class File(NamedTuple):
    """One example as it lies on disk."""

    name: str  # for a person to find it
    data: bytes  # JPEG or PNG
    label: int


class Records(Protocol):
    """A split; picklable, and cheap to send to a worker."""

    count: int

    def read(self, indices: Sequence[int]) -> list[File]:
        """The files at these indices, 0 ≤ index < count."""


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
    train, test = (
        TFDSRecords(source, source.data_dir, split, builder.info.splits[split].num_examples)
        for split in (source.train, source.test)
    )
    return Splits(train, test, builder.info.features["label"].num_classes)


@dataclass(frozen=True)
class TFDSRecords:
    """A split of a data set of TensorFlow Datasets, in ArrayRecord."""

    data: TFDS
    data_dir: str | None
    split: str
    count: int

    def read(self, indices: Sequence[int]) -> list[File]:
        """By ArrayRecord's own parallel reads."""
        source = _data_source(self.data, self.data_dir, self.split)
        return [
            File(_name(example, self, index), example["image"], int(example["label"]))
            for index, example in zip(indices, source.__getitems__(list(indices)), strict=True)
        ]


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

    @property
    def count(self) -> int:
        """Files."""
        return len(self.names)

    def read(self, indices: Sequence[int]) -> list[File]:
        """One by one."""
        names = [self.names[index].decode() for index in indices]
        return [
            File(f"{name} (example {index:,})", (self.path / name).read_bytes(), int(label))
            for name, index, label in zip(names, indices, self.labels[list(indices)], strict=True)
        ]


def _open_folder(source: ImageFolder) -> Splits:
    folder = Path(source.path).expanduser()
    files = image_folder.files(folder)
    for split in (source.train, source.test):
        if split not in files:
            raise Mistake(
                f"{folder} has images of {', '.join(sorted(files))}, none of {split}: give "
                "train and test"
            )
    numbers = {name: n for n, name in enumerate(image_folder.class_names(folder, files))}
    train, test = (
        FolderRecords(
            folder,
            np.array([file.name.encode() for file in files[split]]),
            np.array([numbers[file.label] for file in files[split]], np.int32),
        )
        for split in (source.train, source.test)
    )
    return Splits(train, test, len(numbers))
