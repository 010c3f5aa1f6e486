"""A data set in memory."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Images and labels of a training or a test set."""

    images: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray  # (N,) int32, 0 ≤ label < num_classes


class Dataset(NamedTuple):
    """A data set in memory."""

    train: Split
    test: Split
    num_classes: int
