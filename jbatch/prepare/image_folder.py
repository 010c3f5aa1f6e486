"""Reading images at train/<class>/*, val/<class>/* …, in a folder or a tar of it."""

import hashlib
import io
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jbatch.data.image.folder import File, class_names, files
from jbatch.data.image.picture import DamagedImage, decoded, open_picture
from jbatch.errors import Mistake
from jbatch.prepare.examples import Examples, Read

if TYPE_CHECKING:
    import tensorflow_datasets as tfds
    from PIL import Image

MOST_BYTES = 1 << 30  # of one image file
TAIL = 1 << 16  # bytes at a file's end; the end marker is searched here first


def read(source: Path) -> Read:
    """Read all images in order of name; the classes are the folders in order of name."""
    by_split = files(source)
    names = class_names(source, by_split)
    return Read({split: examples(found) for split, found in by_split.items()}, {"label": names})


def examples(files: list[File], named: bool = False) -> Examples:
    """Present images as features: image, label and, if `named`, file_name."""

    def example(index: int) -> Mapping[str, Any]:
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


def builder(
    name: str, class_names: list[str], data_dir: Path | None
) -> "tfds.core.GeneratorBasedBuilder":
    """Make tfds's builder for a dataset with a name of your own.

    Raises:
        Mistake: if tfds does not allow the name.
    """
    import tensorflow_datasets as tfds

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise Mistake(
            f"{name!r} is no valid name of a dataset: use lower-case letters, digits and _"
        )

    def info(self: "tfds.core.GeneratorBasedBuilder") -> "tfds.core.DatasetInfo":
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
    """Check the head and the end of an image; return its problem, or "" if there is none.

    An image that has to be converted to an RGB JPEG is decoded too.
    """
    try:
        if file.num_bytes > MOST_BYTES:
            raise Mistake(
                f"{file.name} has {file.num_bytes:,} bytes, over the limit of {MOST_BYTES:,}: "
                "remove it"
            )
        head = file.read(0, TAIL)
        tail = head if file.num_bytes <= TAIL else file.read(file.num_bytes - TAIL, TAIL)
        with suppress(DamagedImage):
            image = open_picture(head)
            if not _kept(image, file.name) or END[image.format] not in tail:
                raise DamagedImage
            return ""
        checked(file.name, file.read())  # the whole file, as its head and end were not enough
    except Mistake as mistake:
        return str(mistake)
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror or error}): restore or remove it"
    return ""


END: Mapping[str | None, bytes] = {  # by Pillow's name of the format; a truncated file lacks it
    "JPEG": b"\xff\xd9",
    "MPO": b"\xff\xd9",
    "PNG": b"IEND",
}


def checked(name: str, data: bytes) -> bytes:
    """Check a JPEG or PNG file and return its bytes.

    A CMYK JPEG, or a PNG that is named JPEG, becomes an RGB JPEG, as in TensorFlow Datasets.
    ImageNet has some of both.

    Raises:
        Mistake: if the file is damaged.
    """
    try:
        image = open_picture(data)
        # Enough: decoding every image would find no more.
        if data.rfind(END[image.format]) < len(data) // 2:
            raise Mistake(f"{name} ends too early: restore or remove it")
        if _kept(image, name):
            return data
        file = io.BytesIO()
        decoded(image, "RGB").save(file, "JPEG", quality=95)
    except DamagedImage as error:
        raise Mistake(
            f"{name} cannot be opened ({error}): restore, convert or remove it"
        ) from error
    return file.getvalue()


def _kept(image: "Image.Image", name: str) -> bool:
    """Tell whether a file is kept as it is, without conversion."""
    misnamed = image.format == "PNG" and PurePosixPath(name).suffix.lower() != ".png"
    return image.mode != "CMYK" and not misnamed
