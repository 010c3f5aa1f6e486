"""The order of examples; only this module decides it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


def epoch_order(seed: int, epoch: int, num_examples: int) -> npt.NDArray[np.int32]:
    """Return the permutation of one epoch: place → example index.

    The order depends only on seed, epoch and the number of examples. Schedule, devices, hosts and
    restarts do not change it. It ranks Philox's raw 64-bit stream, which NumPy keeps stable; NumPy
    gives no such promise for Generator.permutation.

    Returns:
        int32 array of shape (num_examples,).
    """
    keys = np.random.Philox(key=[seed, epoch]).random_raw(num_examples)
    return np.argsort(keys, kind="stable").astype(np.int32)


ROUNDS = 6  # of the Feistel network; Luby and Rackoff (1988) need four


class Cut(NamedTuple):
    """How one epoch cuts a text into windows, and in which order it shows them.

    Nothing is stored: each place costs the same work, whatever the number of windows. A Feistel
    network permutes the numbers below the next power of four, and a result outside of the text is
    permuted again until it is inside (cycle walking; Black and Rogaway, 2002).
    """

    keys: npt.NDArray[np.uint64]  # one for each round
    first: int  # where the epoch's first window begins
    num_windows: int

    def windows(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of the window at each place, 0 ≤ place < num_windows."""
        found = self._permuted(places.astype(np.uint64))
        while (outside := found >= self.num_windows).any():
            found[outside] = self._permuted(found[outside])
        return found.astype(np.int64)

    def _permuted(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        half = np.uint64(max(1, ((self.num_windows - 1).bit_length() + 1) // 2))  # bits
        mask = (np.uint64(1) << half) - np.uint64(1)
        left, right = values >> half, values & mask
        for key in self.keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        return (left << half) | right


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix the bits of each value (the finalizer of SplitMix64; Steele et al., 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def epoch_cut(seed: int, epoch: int, count: int, length: int) -> Cut:
    """Return how one epoch cuts a text.

    Like the order of other examples, it depends on these arguments alone. Each epoch begins at
    another of the first `length` tokens, so that windows differ between epochs.

    Args:
        seed: of the run.
        epoch: its number.
        count: windows of an epoch.
        length: tokens of a window.
    """
    *keys, first = np.random.Philox(key=[seed, epoch]).random_raw(ROUNDS + 1)
    return Cut(np.array(keys, np.uint64), int(first) % length, count)
