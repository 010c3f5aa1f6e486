"""Photographs as train/<class>/*, val/<class>/* …: a folder, or a tar of it."""

import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jbatch.errors import Mistake
from jbatch.prepare.examples import Examples, Read

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
SUFFIXES = {".jpeg", ".jpg", ".png"}


class File(NamedTuple):
    """One image, by where it is and how it is read."""

    split: str
    label: str
    name: str
    num_bytes: int
    read: Callable[[], bytes]


def read(source: Path) -> Read:
    """All images, in the order of their names; the classes are the folders', in order."""
    by_split = files(source)
    names = class_names(source, by_split)
    return Read({split: examples(found) for split, found in by_split.items()}, {"label": names})


def class_names(source: Path, by_split: Mapping[str, list[File]]) -> list[str]:
    """The classes, in order; Mistake if train does not have them all."""
    names = sorted({file.label for file in by_split["train"]})
    for split, found in by_split.items():
        unknown = sorted({file.label for file in found} - set(names))
        if unknown:
            raise Mistake(
                f"{source}: class {unknown[0]} of {split} is not in train: add it there, or remove "
                "it here"
            )
    return names


def files(source: Path) -> dict[str, list[File]]:
    """The images of each split; Mistake if there are none to train on."""
    by_split = defaultdict(list)
    for file in _in_folder(source) if source.is_dir() else _in_tar(source):
        by_split[file.split].append(file)
    if "train" not in by_split:
        raise Mistake(
            f"{source} has no images as train/CLASS/NAME.jpg: give the folder that holds train, or "
            "an uncompressed tar of it"
        )
    return by_split


def examples(files: list[File], named: bool = False) -> Examples:
    """The images as features: image, label and, if `named`, file_name."""

    def example(index: int) -> Mapping:
        file = files[index]
        features = {"image": io.BytesIO(checked(file.name, file.read())), "label": file.label}
        return features | ({"file_name": PurePosixPath(file.name).name} if named else {})

    return Examples(len(files), sum(file.num_bytes for file in files), example)


def builder(name: str, class_names: list[str], data_dir: Path | None):
    """A builder under a name of one's own."""
    import tensorflow_datasets as tfds

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise Mistake(f"{name!r} is no name of a data set: give lower-case letters, digits and _")

    def info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="An image folder.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    "label": tfds.features.ClassLabel(names=class_names),
                }
            ),
            supervised_keys=("image", "label"),
        )

    members = {
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": None,
        "_generate_examples": None,
        "name": name,
        "pkg_dir_path": None,
    }
    kind = type(name, (tfds.core.GeneratorBasedBuilder,), members, skip_registration=True)
    return kind(data_dir=data_dir, file_format="array_record")


def checked(name: str, data: bytes) -> bytes:
    """The file of a JPEG or PNG image; Mistake if it is damaged.

    A JPEG whose colours are CMYK, or a PNG that is named JPEG (ImageNet has some of both), becomes
    an RGB JPEG, as TensorFlow Datasets makes them.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError) as error:
        raise Mistake(f"{name} is no image, or damaged: fetch or remove it") from error
    # A cut file is missing its end marker. Decoding every photograph would find no more.
    end = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(image.format)
    if end is None:
        raise Mistake(f"{name} is a {image.format}: give JPEG or PNG")
    if data.rfind(end) < len(data) // 2:
        raise Mistake(f"{name} ends too early: fetch or remove it")
    misnamed = image.format == "PNG" and PurePosixPath(name).suffix.lower() != ".png"
    if image.mode != "CMYK" and not misnamed:
        return data
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


def _in_folder(folder: Path) -> Iterator[File]:
    for split in sorted(SPLITS):
        for path in sorted((folder / split).glob("*/*")):
            if path.suffix.lower() in SUFFIXES:
                place = str(path.relative_to(folder))
                yield File(
                    SPLITS[split], path.parent.name, place, path.stat().st_size, path.read_bytes
                )


def _in_tar(path: Path) -> Iterator[File]:
    found = []
    for member, start in tar_members(path, 0):
        parts = PurePosixPath(member.name).parts[-3:]
        if len(parts) == 3 and parts[0] in SPLITS:
            if PurePosixPath(parts[2]).suffix.lower() not in SUFFIXES:
                continue
            read = reader(path, start, member.size)
            found.append(File(SPLITS[parts[0]], parts[1], "/".join(parts), member.size, read))
    yield from sorted(found, key=lambda file: file.name)


def tar_members(path: Path, offset: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """(file, where its bytes start in `path`) for the files of the tar that begins at `offset`."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if member.isfile():
                        # From the beginning of the file, wherever the tar begins.
                        yield member, member.offset_data
    except tarfile.TarError as error:
        packed = path.suffix in {".gz", ".tgz", ".xz", ".bz2"}
        fix = "unpack it to a plain tar first" if packed else "fetch it again"
        raise Mistake(f"{path} does not read as a tar ({error}): {fix}") from error


def reader(path: Path, start: int, size: int) -> Callable[[], bytes]:
    """Reads `size` bytes from `start` on."""

    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise Mistake(f"{path} ends too early: fetch it again")
        return data

    return read
