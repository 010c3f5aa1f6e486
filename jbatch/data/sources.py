"""Where examples come from."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Digits:
    """The 1,797 handwritten digits of scikit-learn (UCI; 8×8, values 0 to 16), in the package.

    The file is in the order of the writers. Every sixth digit is for testing, up to 297, so that
    both sets have all writers; the other 1,500 are for training.
    """

    def load(self) -> Dataset:
        """Read the set from scikit-learn's own files."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = digits.images.astype(np.uint8)[..., None]
        labels = digits.target.astype(np.int32)
        test = np.zeros(len(labels), bool)
        test[5 : 6 * 297 : 6] = True
        return Dataset(
            train=Split(images[~test], labels[~test]),
            test=Split(images[test], labels[test]),
            num_classes=10,
        )


@dataclass(frozen=True, eq=False)
class Arrays:
    """Any arrays in memory: uint8 images of shape (N, H, W, C) and int labels of shape (N,)."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int

    def load(self) -> Dataset:
        """The arrays as a data set; Mistake if they do not make one."""
        train = self._split("train", self.train_images, self.train_labels)
        test = self._split("test", self.test_images, self.test_labels)
        if train.images.shape[1:] != test.images.shape[1:]:
            raise Mistake(
                f"train_images are of shape {train.images.shape[1:]} each and test_images of "
                f"{test.images.shape[1:]}: give the same (H, W, C)"
            )
        return Dataset(train, test, self.num_classes)

    def _split(self, name: str, images: np.ndarray, labels: np.ndarray) -> Split:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise Mistake(
                f"{name}_images are {images.dtype} of shape {images.shape}: give uint8 of shape "
                "(N, H, W, C)"
            )
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise Mistake(
                f"{name}_labels are {labels.dtype} of shape {labels.shape}: give integers of shape "
                f"({len(images)},), one for each image"
            )
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= self.num_classes:
            raise Mistake(
                f"{name}_labels are not all within 0 to {self.num_classes - 1}: mend the labels or "
                "num_classes"
            )
        return Split(images, labels.astype(np.int32))


Data = Digits | Arrays
