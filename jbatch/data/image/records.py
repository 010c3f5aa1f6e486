"""Random access to the image files of a split, for workers."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from jbatch.data.image import folder as image_folder
from jbatch.data.image.photographs import ImageFolder
from jbatch.data.image.tfds import TFDS, open_builder
from jbatch.errors import Mistake
from jbatch.files import expanded, read_whole

if TYPE_CHECKING:
    from tensorflow_datasets.core.data_sources import BaseDataSource


class File(NamedTuple):
    """One example as stored on disk."""

    name: str  # tells a person where it is
    data: bytes | None  # JPEG or PNG; None if it cannot be read
    label: int
    problem: str = ""  # why it cannot be read


class Records(Protocol):
    """The examples of a split; picklable."""

    @property
    def count(self) -> int:
        """Number of examples."""

    @property
    def digest(self) -> str:
        """The SHA-256 of which examples the split holds, wherever they are; reads no example."""

    def read(self, indices: Sequence[int]) -> Iterable[File]:
        """Read the files at these indices, 0 ≤ index < count; the result is gone through once.

        Raises:
            Mistake: if the dataset itself is damaged.
        """


class Splits(NamedTuple):
    """The splits to train and to evaluate on."""

    train: Records
    test: Records
    class_names: tuple[str, ...]
    validation: Records | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def open_records(source: TFDS | ImageFolder) -> Splits:
    """Open the splits to train and to evaluate on.

    Raises:
        Mistake: if one is missing or incomplete.
    """
    if isinstance(source, ImageFolder):
        return _open_folder(source)
    builder = open_builder(source, source.data_dir)
    names = tuple(builder.info.features["label"].names)
    classes = len(names)
    train, test, *held_out = (
        TFDSRecords(
            source, source.data_dir, split, builder.info.splits[split].num_examples, classes
        )
        for split in source.splits
    )
    return Splits(train, test, names, *held_out)


@dataclass(frozen=True)
class TFDSRecords:
    """A split of a dataset of TensorFlow Datasets, in ArrayRecord."""

    data: TFDS
    data_dir: str | None
    split: str
    count: int
    num_classes: int

    @cached_property
    def digest(self) -> str:
        """Hash of the dataset's name, version and classes, and each shard's examples and bytes."""
        from etils import epath

        info = open_builder(self.data, self.data_dir).info
        split = info.splits[self.split]
        sizes = [epath.Path(path).stat().length for path in split.filepaths]
        names = info.features["label"].names
        what = f"{info.full_name} {self.split} {names} {split.shard_lengths} {sizes}"
        return hashlib.sha256(what.encode()).hexdigest()

    def read(self, indices: Sequence[int]) -> list[File]:
        """Read through ArrayRecord, which reads in parallel."""
        source = _data_source(self.data, self.data_dir, self.split)
        try:
            examples = source.__getitems__(list(indices))
        except (RuntimeError, OSError) as error:  # ArrayRecord's
            raise Mistake(
                f"{self.split} of {self.data.name} is damaged at one of the examples "
                f"{sorted(indices)} ({error}): write the dataset again"
            ) from error
        return [
            File(_name(example, self, index), example["image"], self._label(example, index))
            for index, example in zip(indices, examples, strict=True)
        ]

    def _label(self, example: dict[str, Any], index: int) -> int:
        label = int(example["label"])
        if not 0 <= label < self.num_classes:
            raise Mistake(
                f"{_name(example, self, index)} has the label {label}, which is not within 0 to "
                f"{self.num_classes - 1}: remove examples without a label from the dataset"
            )
        return label


def _name(example: dict[str, Any], records: TFDSRecords, index: int) -> str:
    name = f"example {index:,} of {records.data.name} {records.split}"
    file_name = example.get("file_name")
    return f"{file_name.decode()} ({name})" if file_name else name


@lru_cache(3)  # all splits, opened once per process
def _data_source(data: TFDS, data_dir: str | None, split: str) -> "BaseDataSource":
    import tensorflow_datasets as tfds

    builder = open_builder(data, data_dir)
    return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})


@dataclass(frozen=True, eq=False)
class FolderRecords:
    """A split of an image folder."""

    path: Path
    names: npt.NDArray[np.bytes_]  # (count,), relative to path; a list would be far larger
    labels: npt.NDArray[np.int32]  # (count,)
    sizes: npt.NDArray[np.int64]  # (count,), bytes of each file

    @property
    def count(self) -> int:
        """Number of files."""
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """Hash of the files' names, classes and sizes in bytes."""
        hashed = hashlib.sha256()
        for array in (self.names, self.labels, self.sizes):
            hashed.update(array.tobytes())
        return hashed.hexdigest()

    def read(self, indices: Sequence[int]) -> Iterator[File]:
        """Read each file when it is asked for: decoding finds it in the processor's caches."""
        return map(self._file, indices)

    def _file(self, index: int) -> File:
        path, label = os.fsdecode(self.names[index]), int(self.labels[index])
        name = f"{path} (example {index:,})"
        try:
            return File(name, read_whole(self.path / path), label)
        except OSError as error:
            return File(name, None, label, error.strerror or str(error))


def _open_folder(source: ImageFolder) -> Splits:
    folder = expanded(Path(source.path))
    if not folder.is_dir():
        raise Mistake(f"{folder} is no folder: give one that holds train/CLASS/*")
    files = image_folder.files(folder)
    for split in source.splits:
        if split not in files:
            raise Mistake(
                f"{folder} has images of {', '.join(sorted(files))}, but none of {split}: set "
                "train, test and validation to splits that it has, or add the folder"
            )
    numbers = {name: n for n, name in enumerate(image_folder.class_names(folder, files))}
    train, test, *held_out = (
        FolderRecords(
            folder,
            np.array([os.fsencode(file.name) for file in files[split]]),
            np.array([numbers[file.label] for file in files[split]], np.int32),
            np.array([file.num_bytes for file in files[split]], np.int64),
        )
        for split in source.splits
    )
    return Splits(train, test, tuple(numbers), *held_out)
