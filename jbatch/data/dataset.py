"""A data set in memory."""

from typing import NamedTuple

import numpy as np

from jbatch.errors import Mistake


class Split(NamedTuple):
    """Images and labels of a training or a test set."""

    images: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray  # (N,) int32, 0 ≤ label < num_classes


class Dataset(NamedTuple):
    """A data set in memory."""

    train: Split
    test: Split
    num_classes: int


def check_labels(what: str, labels: np.ndarray, num_classes: int) -> None:
    """See that labels are classes, 0 ≤ label < num_classes, or a Mistake.

    A label outside would train as another class, or as none, and nothing would say so: −1 is how
    some sets mark an example without a label.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        first = int(outside[0])
        count = "1 label is" if len(outside) == 1 else f"{len(outside):,} labels are"
        raise Mistake(
            f"{what}: {count} not within 0 to {num_classes - 1}, the first at index {first:,} "
            f"({int(labels[first])}): leave out examples without a label, or mend the number of "
            "classes"
        )


def check_dataset(what: str, dataset: Dataset) -> None:
    """See that a set is what it should be, whoever has made it, or a Mistake."""
    for name, images, labels in (("train", *dataset.train), ("test", *dataset.test)):
        if (
            getattr(images, "dtype", None) != np.uint8
            or images.ndim != 4
            or not images.size
            or images.shape[1:] != dataset.train.images.shape[1:]
        ):
            kind = f"{getattr(images, 'dtype', type(images).__name__)}"
            raise Mistake(
                f"the {name} images of {what} are {kind} of shape {getattr(images, 'shape', ())}: "
                "give uint8 of shape (N, H, W, C), at least one, of one H, W and C in both splits"
            )
        if getattr(labels, "shape", None) != images.shape[:1] or labels.dtype.kind not in "iu":
            raise Mistake(
                f"the {name} labels of {what} are of shape {getattr(labels, 'shape', ())}: give "
                f"integers of shape ({len(images)},), one for each image"
            )
        check_labels(f"the {name} labels of {what}", labels, dataset.num_classes)
