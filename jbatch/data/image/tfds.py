"""Data sets that TensorFlow Datasets keeps on disk, read without TensorFlow."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from jbatch.data.dataset import Dataset, Split, check_labels
from jbatch.data.image.picture import DamagedImage, decoded, open_picture
from jbatch.errors import Mistake
from jbatch.files import read_whole

MOST_BYTES = 8 << 30  # of a split in memory, and on each device
FEATURES = "tensorflow_datasets.core.features."
READ_AT_ONCE = 1000  # examples: one call each would double the time


@dataclass(frozen=True)
class TFDS:
    """A data set in ArrayRecord by its name, as `jbatch prepare` or tfds itself has written it."""

    name: str
    """As cifar10, or with its config and version: imagenette/320px-v2:1.0.0."""
    data_dir: str | None = field(default=None, compare=False)  # where it lies is not what it is
    """TensorFlow Datasets' directory or gs://…; None for $TFDS_DATA_DIR, ~/tensorflow_datasets."""
    train: str = "train"
    """Split to train on; or a part, as train[:10%], by TensorFlow Datasets' own notation."""
    test: str = "test"
    """Split to evaluate on; or a part."""

    def load(self) -> Dataset:
        """Both splits in memory; Mistake if they are not there, damaged or too large."""
        return _load(self, self.data_dir)


@lru_cache(1)  # many runs of one process train on the same
def _load(data: TFDS, data_dir: str | None) -> Dataset:
    builder = open_builder(data, data_dir)
    train, test = (_split(builder, name) for name in (data.train, data.test))
    return Dataset(train, test, builder.info.features["label"].num_classes)


def open_builder(data: TFDS, data_dir: str | None):
    """tfds's builder of a set; Mistake if it is not there, not whole, or of another kind."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    import tensorflow_datasets as tfds
    from etils import epath

    try:
        root = epath.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    except RuntimeError as error:
        raise Mistake(f"data_dir is {data_dir}: there is no such home; give another") from error
    name = data.name.split(":")[0]
    advice = (
        f"write it with `jbatch prepare {name} --from PATH --data-dir {root}`, or give the right "
        "data_dir"
    )
    if not (root / name).is_dir():
        raise Mistake(f"{root} has no data set {data.name}: {advice}")
    refuse_code(root / name)
    try:
        builder = tfds.builder(data.name, data_dir=root)
        splits = builder.info.splits
    except Exception as error:  # of damaged JSON, as many as there are ways to damage it
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise Mistake(f"{root / name} does not open ({said}): {advice}") from error
    if not splits:
        there = ", ".join(sorted(path.name for path in (root / name).iterdir()))
        raise Mistake(f"{builder.data_dir} is missing; {root / name} holds {there}: {advice}")
    for split in (data.train, data.test):
        try:
            empty = not splits[split].num_examples
        except ValueError as error:
            raise Mistake(
                f"{data.name} has no split {split!r}, but {', '.join(splits)} "
                f"({str(error).splitlines()[0]}): set train and test, as test='validation'"
            ) from error
        if empty:
            raise Mistake(f"the split {split!r} of {data.name} has no example: give another")
    if builder.info.file_format.value != "array_record":
        raise Mistake(
            f"{builder.data_dir} is in {builder.info.file_format.value}, which has no random "
            "access: convert it, where TensorFlow is installed, with `tfds convert_format "
            f"--dataset_version_dir={builder.data_dir} --out_file_format=array_record "
            f"--out_dir=ANOTHER/{epath.Path(builder.data_dir).relative_to(root)}`, and give "
            "data_dir ANOTHER"
        )
    # One listing, since each look at a file in a bucket is a request.
    there = {path.name for path in epath.Path(builder.data_dir).iterdir()}
    for split in (data.train, data.test):
        lost = [str(path) for path in splits[split].filepaths if path.name not in there]
        if lost:
            raise Mistake(f"{lost[0]} is missing ({len(lost)} in all): restore it, or {advice}")
    check_features(data.name, builder.info.features)
    return builder


def check_features(name: str, features) -> None:
    """See that a set has images, and of each the number of one class, or a Mistake."""
    import tensorflow_datasets as tfds

    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    known = set(features) if isinstance(features, tfds.features.FeaturesDict) else set()
    if not kinds.keys() <= known:
        there = ", ".join(sorted(known)) or type(features).__name__
        raise Mistake(f"{name} has the features {there}: give a set with image and label")
    for feature, kind in kinds.items():
        if type(features[feature]) is not kind:
            raise Mistake(
                f"the {feature} of {name} is {features[feature]!r}: give a set in which it is a "
                f"{kind.__name__}"
            )
    if features["image"].np_dtype != np.uint8:
        raise Mistake(
            f"the image of {name} is of {features['image'].np_dtype}: give a set of uint8 images"
        )
    if not features["label"].num_classes:
        raise Mistake(f"the label of {name} does not say how many classes there are: write it anew")


def refuse_code(directory) -> None:
    """See that all features are tfds's own: it would import any module that a set names."""
    versions = (*directory.glob("*/features.json"), *directory.glob("*/*/features.json"))
    for path in versions:
        try:
            named = list(_class_names(json.loads(_content(path))))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise Mistake(f"{path} is damaged ({error}): write the data set anew") from error
        others = [name for name in named if not name.startswith(FEATURES)]
        if others:
            raise Mistake(
                f"{path} names {others[0]}, which is no feature of TensorFlow Datasets and could "
                "be any code: take the data set from somewhere else"
            )


def _content(path) -> bytes:
    """Of a file here, or in a bucket."""
    local = os.fspath(path)
    return read_whole(Path(local)) if "://" not in local else path.read_bytes()


def _class_names(value) -> Iterator[str]:
    """Of a proto in JSON, whose fields may be spelt in two ways."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        legacy = key == "type" and isinstance(value, dict) and len(value) > 1
        if key in ("pythonClassName", "python_class_name") or legacy:
            yield str(part)
        elif isinstance(part, dict | list):
            yield from _class_names(part)


def _split(builder, name: str) -> Split:
    import tensorflow_datasets as tfds

    source = builder.as_data_source(split=name, decoders={"image": tfds.decode.SkipDecoding()})
    count, channels = len(source), builder.info.features["image"].shape[-1]
    images, labels = None, np.empty(count, np.int32)
    for start in range(0, count, READ_AT_ONCE):
        indices = range(start, min(start + READ_AT_ONCE, count))
        try:
            examples = source.__getitems__(list(indices))
            found = [_decoded(example["image"], channels) for example in examples]
        except (RuntimeError, OSError, DamagedImage) as error:  # the first two of ArrayRecord
            raise Mistake(
                f"{name} of {builder.data_dir} is damaged between examples {start:,} and "
                f"{indices[-1]:,} ({error}): write it anew"
            ) from error
        for index, image, example in zip(indices, found, examples, strict=True):
            if images is None:
                images = _room(builder, name, count, image)
            if image.shape != images.shape[1:]:
                raise Mistake(
                    f"{name} of {builder.name} has images of {image.shape} and {images.shape[1:]}: "
                    "give a set whose images are of one size, or stream it as Photographs(TFDS(…))"
                )
            images[index], labels[index] = image, example["label"]
    check_labels(f"{name} of {builder.name}", labels, builder.info.features["label"].num_classes)
    return Split(images, labels)


def _room(builder, name: str, count: int, image: np.ndarray) -> np.ndarray:
    """For all images like the first; Mistake if that is too much."""
    if count * image.size > MOST_BYTES:
        size = count * image.size / 2**30
        raise Mistake(
            f"{name} of {builder.name} takes {size:.0f} GiB in memory, and at most "
            f"{MOST_BYTES / 2**30:.0f} can be resident on the devices: stream it as "
            "Photographs(TFDS(…))"
        )
    return np.empty((count, *image.shape), np.uint8)


def _decoded(data: bytes, channels: int) -> np.ndarray:
    """The (H, W, channels) uint8 image of a PNG or JPEG file; DamagedImage if it is none."""
    image = np.asarray(decoded(open_picture(data), "L" if channels == 1 else "RGB"))
    return image[..., None] if channels == 1 else image
