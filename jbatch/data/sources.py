"""Where examples come from."""

import math
from dataclasses import dataclass

import numpy as np

from jbatch.data.dataset import Dataset, Split, check_labels
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.tfds import MOST_BYTES, TFDS
from jbatch.errors import Mistake, make_plain, shown, whole, wholes


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

    def __post_init__(self):
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            value = getattr(self, name)
            if not isinstance(value, np.ndarray):
                raise Mistake(f"{name} is {shown(value)}: give a NumPy array")
        object.__setattr__(self, "num_classes", whole("num_classes", self.num_classes))

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
        if not len(labels):
            raise Mistake(f"{name}_labels are empty: give at least one example")
        check_labels(f"{name}_labels", labels, whole("num_classes", self.num_classes))
        return Split(images, labels.astype(np.int32))


@dataclass(frozen=True)
class Generated:
    """Noise around a random image of each class, for runs where only sizes and speed matter."""

    num_train: int
    """Training examples."""
    num_test: int
    """Test examples."""
    shape: tuple[int, int, int]
    """(H, W, C) of an image."""
    num_classes: int
    """Classes, each as frequent as the others."""

    def __post_init__(self):
        make_plain(self)
        for name in ("num_train", "num_test", "num_classes"):
            whole(name, getattr(self, name))
        if len(wholes("shape", self.shape)) != 3:
            raise Mistake(f"shape is {shown(self.shape)}: give height, width and channels")

    def load(self) -> Dataset:
        """Generate both splits, the same ones always."""
        count = (self.num_train + self.num_test + self.num_classes) * math.prod(self.shape)
        if count > MOST_BYTES:
            raise Mistake(
                f"{count:,} bytes of images are more than the {MOST_BYTES:,} that are kept in "
                "memory: give fewer or smaller ones"
            )
        size = math.prod(self.shape)
        patterns = _random_bytes(0, self.num_classes * size).reshape(self.num_classes, size)

        def split(key: int, count: int) -> Split:
            labels = np.arange(count, dtype=np.int32) % self.num_classes
            noise = _random_bytes(key, count * size).reshape(count, size)
            images = noise // 4 * 3 + patterns[labels] // 4
            return Split(images.reshape(count, *self.shape), labels)

        return Dataset(split(1, self.num_train), split(2, self.num_test), self.num_classes)


def _random_bytes(key: int, count: int) -> np.ndarray:
    """Of Philox's raw stream, which NumPy keeps stable: (count,) uint8."""
    words = np.random.Philox(key=key).random_raw(-(-count // 8))
    return words.view(np.uint8)[:count]


Data = Digits | TFDS | Photographs | Generated | Arrays
