"""Datasets that an experiment can name."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jbatch.data.dataset import Dataset
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.tfds import MOST_BYTES, TFDS
from jbatch.data.source import Source
from jbatch.data.text.tokens import Tokens
from jbatch.errors import Mistake, make_plain, shown, whole, wholes
from jbatch.hidden import Hidden


@dataclass(frozen=True)
class Digits:
    """The 1,797 handwritten digits that come with scikit-learn (UCI; 8×8, values 0 to 16).

    The file is ordered by writer. The test set is every sixth digit, 297 in all, so that training
    and test set both have all writers. The other 1,500 are the training set.

    Examples:
        >>> jbatch.Digits().load().train["image"].shape
        (1500, 8, 8, 1)
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
            train={"image": images[~test], "label": labels[~test]},
            test={"image": images[test], "label": labels[test]},
            num_classes=10,
        )


@dataclass(frozen=True, eq=False)
class Arrays:
    """Your own arrays in memory.

    Each split is a pytree of arrays with a leading axis over examples, of any numeric dtype and
    shape. Tasks name the arrays that they want: `Classify` wants {"image": …, "label": …}.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> x, y = load_digits(return_X_y=True)
        >>> data = jbatch.Arrays(
        ...     train={"image": x[:1500], "label": y[:1500]},
        ...     test={"image": x[1500:], "label": y[1500:]},
        ... )
    """

    train: Hidden[Any]
    """The training set."""
    test: Hidden[Any]
    """The test set: the same arrays of other examples."""
    num_classes: int | None = None
    """Number of classes. None: one more than the largest training label."""
    validation: Hidden[Any] = None
    """Examples to evaluate on during the run; the test set is then left for its end."""

    def __post_init__(self) -> None:
        if self.num_classes is not None:
            object.__setattr__(self, "num_classes", whole("num_classes", self.num_classes))

    def load(self) -> Dataset:
        """Return the arrays as a dataset, which jbatch checks."""
        return Dataset(self.train, self.test, self.num_classes, validation=self.validation)


@dataclass(frozen=True)
class Generated:
    """Random images, noise around one image per class, to test speed and sizes.

    Examples:
        >>> data = jbatch.Generated(1000, 100, shape=(8, 8, 3), num_classes=10)
        >>> data.load().train["image"].shape
        (1000, 8, 8, 3)
    """

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

        def split(key: int, count: int) -> dict[str, npt.NDArray[Any]]:
            labels = np.arange(count, dtype=np.int32) % self.num_classes
            noise = _random_bytes(key, count * size).reshape(count, size)
            images = noise // 4 * 3 + patterns[labels] // 4
            return {"image": images.reshape(count, *self.shape), "label": labels}

        return Dataset(split(1, self.num_train), split(2, self.num_test), self.num_classes)


def _random_bytes(key: int, count: int) -> npt.NDArray[np.uint8]:
    """Take (count,) uint8 from Philox's raw stream, which NumPy keeps stable."""
    words = np.random.Philox(key=key).random_raw(-(-count // 8))
    return words.view(np.uint8)[:count]


# They say where examples are, and hold none.
Named = Digits | TFDS | Photographs | Generated | Tokens
Data = Named | Arrays | Source
