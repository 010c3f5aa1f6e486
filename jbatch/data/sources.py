"""Datasets that an experiment can name."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jbatch.data.dataset import Dataset, Split, check_labels
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.tfds import MOST_BYTES, TFDS
from jbatch.errors import Mistake, make_plain, shown, whole, wholes


@dataclass(frozen=True)
class Digits:
    """The 1,797 handwritten digits that come with scikit-learn (UCI; 8×8, values 0 to 16).

    The file is ordered by writer. The test set is every sixth digit, 297 in all, so that training
    and test set both have all writers. The other 1,500 are the training set.
    """

    def load(self) -> Dataset:
        """Read the digits from scikit-learn's own files."""
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
    """Your own arrays in memory: images (N, H, W, C) uint8 and labels (N,) of any integer type."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int

    def __post_init__(self) -> None:
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            value = getattr(self, name)
            if not isinstance(value, np.ndarray):
                raise Mistake(f"{name} is {shown(value)}: give a NumPy array")
        object.__setattr__(self, "num_classes", whole("num_classes", self.num_classes))

    def load(self) -> Dataset:
        """Check the arrays and return them as a dataset.

        Raises:
            Mistake: if a dtype, a shape or a label is wrong.
        """
        train = self._split("train", self.train_images, self.train_labels)
        test = self._split("test", self.test_images, self.test_labels)
        if train.images.shape[1:] != test.images.shape[1:]:
            raise Mistake(
                f"train_images have shape {train.images.shape[1:]} each, but test_images have "
                f"{test.images.shape[1:]}: give both the same (H, W, C)"
            )
        return Dataset(train, test, self.num_classes)

    def _split(self, name: str, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Split:
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
        if not len(labels):
            raise Mistake(f"{name}_labels are empty: give at least one example")
        check_labels(f"{name}_labels", labels, whole("num_classes", self.num_classes))
        return Split(images, labels.astype(np.int32))


@dataclass(frozen=True)
class Generated:
    """Random images, noise around one image per class, to test speed and sizes."""

    num_train: int
    """Number of training examples."""
    num_test: int
    """Number of test examples."""
    shape: tuple[int, int, int]
    """(H, W, C) of an image."""
    num_classes: int
    """Number of classes, all equally frequent."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("num_train", "num_test", "num_classes"):
            whole(name, getattr(self, name))
        if len(wholes("shape", self.shape)) != 3:
            raise Mistake(f"shape is {shown(self.shape)}: give height, width and channels")

    def load(self) -> Dataset:
        """Generate both splits. Every call gives the same images."""
        count = (self.num_train + self.num_test + self.num_classes) * math.prod(self.shape)
        if count > MOST_BYTES:
            raise Mistake(
                f"the images take {count:,} bytes, but at most {MOST_BYTES:,} are kept in memory: "
                "give fewer or smaller images"
            )
        size = math.prod(self.shape)
        patterns = _random_bytes(0, self.num_classes * size).reshape(self.num_classes, size)

        def split(key: int, count: int) -> Split:
            labels = np.arange(count, dtype=np.int32) % self.num_classes
            noise = _random_bytes(key, count * size).reshape(count, size)
            images = noise // 4 * 3 + patterns[labels] // 4
            return Split(images.reshape(count, *self.shape), labels)

        return Dataset(split(1, self.num_train), split(2, self.num_test), self.num_classes)


def _random_bytes(key: int, count: int) -> npt.NDArray[np.uint8]:
    """Take (count,) uint8 from Philox's raw stream, which NumPy keeps stable."""
    words = np.random.Philox(key=key).random_raw(-(-count // 8))
    return words.view(np.uint8)[:count]


Data = Digits | TFDS | Photographs | Generated | Arrays
