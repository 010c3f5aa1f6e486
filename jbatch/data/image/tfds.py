"""Reading TensorFlow Datasets from disk, without TensorFlow."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jbatch.data.dataset import Dataset, check_labels
from jbatch.data.image.picture import DamagedImage, decoded, open_picture
from jbatch.errors import Mistake
from jbatch.files import read_whole
from jbatch.text import byte_size

if TYPE_CHECKING:
    import tensorflow_datasets as tfds
    from etils import epath

MOST_BYTES = 8 << 30  # of a split in memory, on the host and on each device
FEATURES = "tensorflow_datasets.core.features."
READ_AT_ONCE = 1000  # examples: one call each would double the time


@dataclass(frozen=True)
class TFDS:
    """A dataset of TensorFlow Datasets in ArrayRecord, written by `jbatch prepare` or by tfds.

    Examples:
        >>> data = jbatch.TFDS("cifar10", train="train[:90%]", validation="train[90%:]")
    """

    name: str
    """Name, with or without config and version: cifar10, imagenette/320px-v2:1.0.0."""
    data_dir: str | None = field(default=None, compare=False)  # a moved dataset is the same dataset
    """Directory or gs://… that holds it. None: $TFDS_DATA_DIR, or else ~/tensorflow_datasets."""
    train: str = "train"
    """Split to train on, or a part of it in tfds's notation: train[:10%]."""
    test: str = "test"
    """Split to evaluate on, or a part of it: test[:10%]."""
    validation: str | None = None
    """Split to evaluate on during the run, such as train[90%:] beside train[:90%]; the test split
    is then left for its end."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it names."""
        return self.train, self.test, *filter(None, [self.validation])

    def load(self) -> Dataset:
        """Read all splits into memory.

        Raises:
            Mistake: if one is missing, damaged or too large.
        """
        return _load(self, self.data_dir)


@lru_cache(1)  # several runs in one process often share a dataset
def _load(data: TFDS, data_dir: str | None) -> Dataset:
    builder = open_builder(data, data_dir)
    train, test, *held_out = (_split(builder, name) for name in data.splits)
    label = builder.info.features["label"]
    return Dataset(train, test, label.num_classes, tuple(label.names), *held_out)


def open_builder(data: TFDS, data_dir: str | None) -> "tfds.core.DatasetBuilder":
    """Open a dataset on disk and return tfds's builder of it.

    Raises:
        Mistake: if it is missing, incomplete, or has no images and class labels.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)
    import tensorflow_datasets as tfds
    from etils import epath

    try:
        root = epath.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    except RuntimeError as error:
        raise Mistake(
            f"data_dir is {data_dir}, but there is no such home: give another data_dir"
        ) from error
    name = data.name.split(":")[0]
    advice = (
        f"write it with `jbatch prepare {name} --from PATH --data-dir {root}`, or correct data_dir"
    )
    if not (root / name).is_dir():
        raise Mistake(f"{root} has no dataset {data.name}: {advice}")
    refuse_code(root / name)
    try:
        builder = tfds.builder(data.name, data_dir=root)
        splits = builder.info.splits
    except Exception as error:  # damaged JSON can raise anything
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise Mistake(f"{root / name} cannot be opened ({said}): {advice}") from error
    if not splits:
        there = ", ".join(sorted(path.name for path in (root / name).iterdir()))
        raise Mistake(f"{builder.data_dir} is missing ({root / name} holds {there}): {advice}")
    for split in data.splits:
        try:
            empty = not splits[split].num_examples
        except ValueError as error:
            raise Mistake(
                f"{data.name} has no split {split!r} ({str(error).splitlines()[0]}). It has "
                f"{', '.join(splits)}: set train, test and validation to those"
            ) from error
        if empty:
            raise Mistake(f"the split {split!r} of {data.name} has no examples: give another split")
    if builder.info.file_format.value != "array_record":
        raise Mistake(
            f"{builder.data_dir} is in {builder.info.file_format.value} format, without random "
            "access: on a machine with TensorFlow, convert it with `tfds convert_format "
            f"--dataset_version_dir={builder.data_dir} --out_file_format=array_record "
            f"--out_dir=ANOTHER/{epath.Path(builder.data_dir).relative_to(root)}`, then set "
            "data_dir to ANOTHER"
        )
    # One listing: checking files in a bucket one by one would cost a request each.
    names = {path.name for path in epath.Path(builder.data_dir).iterdir()}
    for split in data.splits:
        lost = [str(path) for path in splits[split].filepaths if path.name not in names]
        if lost:
            raise Mistake(f"{lost[0]} is missing ({len(lost)} in all): restore it, or {advice}")
    check_features(data.name, builder.info.features)
    return builder


def check_features(name: str, features: "tfds.features.FeatureConnector") -> None:
    """Check that each example has a uint8 image and one class label.

    Raises:
        Mistake: if not.
    """
    import tensorflow_datasets as tfds

    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    known = set(features) if isinstance(features, tfds.features.FeaturesDict) else set()
    if not kinds.keys() <= known:
        there = ", ".join(sorted(known)) or type(features).__name__
        raise Mistake(
            f"{name} has the features {there}: give a dataset with the features image and label"
        )
    for feature, kind in kinds.items():
        if type(features[feature]) is not kind:
            raise Mistake(
                f"the feature {feature} of {name} is {features[feature]!r}: give a dataset in "
                f"which it is a {kind.__name__}"
            )
    if features["image"].np_dtype != np.uint8:
        raise Mistake(
            f"the images of {name} are {features['image'].np_dtype}: give a dataset of uint8 images"
        )
    if not features["label"].num_classes:
        raise Mistake(
            f"{name} does not say how many classes its label has: write the dataset again"
        )


def refuse_code(directory: "Path | epath.Path") -> None:
    """Check that all features are tfds's own, because tfds imports any module that a dataset names.

    Raises:
        Mistake: if a feature is not, or if the file that lists them is damaged.
    """
    versions = (*directory.glob("*/features.json"), *directory.glob("*/*/features.json"))
    for path in versions:
        try:
            named = list(_class_names(json.loads(_content(path))))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise Mistake(f"{path} is damaged ({error}): write the dataset again") from error
        others = [name for name in named if not name.startswith(FEATURES)]
        if others:
            raise Mistake(
                f"{path} names {others[0]}, which is no feature of TensorFlow Datasets and could "
                "run any code: get the dataset from a source that you trust"
            )


def _content(path: "Path | epath.Path") -> bytes:
    """Read a local file, or one in a bucket."""
    local = os.fspath(path)
    return read_whole(Path(local)) if "://" not in local else path.read_bytes()


def _class_names(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    """Yield the class names in a proto's JSON, where a field can be spelled in two ways."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        legacy = key == "type" and isinstance(value, dict) and len(value) > 1
        if key in ("pythonClassName", "python_class_name") or legacy:
            yield str(part)
        elif isinstance(part, dict | list):
            yield from _class_names(part)


def _split(builder: "tfds.core.DatasetBuilder", name: str) -> dict[str, npt.NDArray[Any]]:
    import tensorflow_datasets as tfds

    source = builder.as_data_source(split=name, decoders={"image": tfds.decode.SkipDecoding()})
    count, channels = len(source), builder.info.features["image"].shape[-1]
    images, labels = None, np.empty(count, np.int32)
    for start in range(0, count, READ_AT_ONCE):
        indices = range(start, min(start + READ_AT_ONCE, count))
        try:
            examples = source.__getitems__(list(indices))
            found = [_decoded(example["image"], channels) for example in examples]
        except (RuntimeError, OSError, DamagedImage) as error:  # ArrayRecord raises the first two
            raise Mistake(
                f"{name} of {builder.data_dir} is damaged between examples {start:,} and "
                f"{indices[-1]:,} ({error}): write the dataset again"
            ) from error
        for index, image, example in zip(indices, found, examples, strict=True):
            if images is None:
                images = _room(builder, name, count, image)
            if image.shape != images.shape[1:]:
                raise Mistake(
                    f"{name} of {builder.name} has images of {image.shape} and {images.shape[1:]}: "
                    "give a dataset with one image size, or stream it with Photographs(TFDS(…))"
                )
            images[index], labels[index] = image, example["label"]
    assert images is not None  # open_builder refuses an empty split
    check_labels(f"{name} of {builder.name}", labels, builder.info.features["label"].num_classes)
    return {"image": images, "label": labels}


def _room(
    builder: "tfds.core.DatasetBuilder", name: str, count: int, image: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Allocate memory for all images, if they are as large as the first.

    Raises:
        Mistake: if that takes more than MOST_BYTES.
    """
    if count * image.size > MOST_BYTES:
        raise Mistake(
            f"{name} of {builder.name} takes {byte_size(count * image.size)}, but at most "
            f"{byte_size(MOST_BYTES)} are kept in device memory: stream it with "
            "Photographs(TFDS(…))"
        )
    return np.empty((count, *image.shape), np.uint8)


def _decoded(data: bytes, channels: int) -> npt.NDArray[np.uint8]:
    """Decode a PNG or JPEG file to (H, W, channels) uint8.

    Raises:
        DamagedImage: if it does not decode to its end.
    """
    image = np.asarray(decoded(open_picture(data), "L" if channels == 1 else "RGB"))
    return image[..., None] if channels == 1 else image
