"""A dataset in memory."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake


class Split(NamedTuple):
    """Images and labels of a training or a test set."""

    images: npt.NDArray[np.uint8]  # (N, H, W, C)
    labels: npt.NDArray[np.int32]  # (N,), 0 ≤ label < num_classes


class Dataset(NamedTuple):
    """A training set and a test set in memory."""

    train: Split
    test: Split
    num_classes: int


def check_labels(what: str, labels: npt.NDArray[np.integer], num_classes: int) -> None:
    """Check that 0 ≤ label < num_classes for all labels.

    JAX raises no error for a label outside this range: the example would silently train as another
    class, or as none. Some datasets mark an example without a label by −1.

    Raises:
        Mistake: if a label is outside.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        first = int(outside[0])
        count = "1 label is" if len(outside) == 1 else f"{len(outside):,} labels are"
        raise Mistake(
            f"{what}: {count} not within 0 to {num_classes - 1}, the first at index {first:,} "
            f"({int(labels[first])}): remove examples without a label, or correct the number of "
            "classes"
        )


def check_dataset(what: str, dataset: Dataset) -> None:
    """Check the dtypes, shapes and labels of a dataset, which a user's class may have made.

    Raises:
        Mistake: if one of them is wrong.
    """
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
                "give uint8 of shape (N, H, W, C), with N at least 1 and the same H, W and C in "
                "both splits"
            )
        if getattr(labels, "shape", None) != images.shape[:1] or labels.dtype.kind not in "iu":
            raise Mistake(
                f"the {name} labels of {what} have shape {getattr(labels, 'shape', ())}: give "
                f"integers of shape ({len(images)},), one for each image"
            )
        check_labels(f"the {name} labels of {what}", labels, dataset.num_classes)
