"""Photographs as train/<class>/*, val/<class>/* …: a folder, or a tar of it."""

import hashlib
import io
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from jbatch.data.image.folder import File, class_names, files
from jbatch.data.image.picture import DamagedImage, decoded, open_picture
from jbatch.errors import Mistake
from jbatch.prepare.examples import Examples, Read

MOST_BYTES = 1 << 30  # of one image's file
TAIL = 1 << 16  # bytes at a file's end in which its end marker is looked for first


def read(source: Path) -> Read:
    """All images, in the order of their names; the classes are the folders', in order."""
    by_split = files(source)
    names = class_names(source, by_split)
    return Read({split: examples(found) for split, found in by_split.items()}, {"label": names})


def examples(files: list[File], named: bool = False) -> Examples:
    """The images as features: image, label and, if `named`, file_name."""

    def example(index: int) -> Mapping:
        file = files[index]
        features = {"image": io.BytesIO(checked(file.name, file.read())), "label": file.label}
        return features | ({"file_name": PurePosixPath(file.name).name} if named else {})

    listed = ((file.name, file.label, file.num_bytes, file.changed) for file in files)
    return Examples(
        count=len(files),
        num_bytes=sum(file.num_bytes for file in files),
        digest=hashlib.sha256("\n".join(map(repr, listed)).encode()).hexdigest(),
        example=example,
        problem=lambda index: problem_of(files[index]),
    )


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


def problem_of(file: File) -> str:
    """What is wrong with an image by its head and its end; empty if nothing is.

    One that would be made an RGB JPEG is decoded for it.
    """
    try:
        if file.num_bytes > MOST_BYTES:
            raise Mistake(f"{file.name} is of {file.num_bytes:,} bytes: that is no photograph")
        head = file.read(0, TAIL)
        tail = head if file.num_bytes <= TAIL else file.read(file.num_bytes - TAIL, TAIL)
        with suppress(DamagedImage):
            image = open_picture(head)
            if not _kept(image, file.name) or END[image.format] not in tail:
                raise DamagedImage
            return ""
        checked(file.name, file.read())  # as a whole, for what its head and end do not tell
    except Mistake as mistake:
        return str(mistake)
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror or error}"
    return ""


END = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}  # that a cut file lacks


def checked(name: str, data: bytes) -> bytes:
    """The file of a JPEG or PNG image; Mistake if it is damaged.

    A JPEG whose colours are CMYK, or a PNG that is named JPEG (ImageNet has some of both), becomes
    an RGB JPEG, as TensorFlow Datasets makes them.
    """
    try:
        image = open_picture(data)
        # Decoding every photograph would find no more.
        if data.rfind(END[image.format]) < len(data) // 2:
            raise Mistake(f"{name} ends too early: fetch or remove it")
        if _kept(image, name):
            return data
        file = io.BytesIO()
        decoded(image, "RGB").save(file, "JPEG", quality=95)
    except DamagedImage as error:
        raise Mistake(f"{name} does not open ({error}): fetch, convert or remove it") from error
    return file.getvalue()


def _kept(image, name: str) -> bool:
    """Whether the file stays as it is."""
    misnamed = image.format == "PNG" and PurePosixPath(name).suffix.lower() != ".png"
    return image.mode != "CMYK" and not misnamed
