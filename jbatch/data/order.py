"""The order of examples: the one place that decides it."""

import numpy as np


def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The permutation of one epoch: place → example index.

    A function of (seed, epoch) alone, so that no schedule, device, host or restart changes it. It
    ranks Philox's raw 64-bit stream, which NumPy keeps stable (as it does not promise for
    Generator.permutation).

    Returns:
        int32 array of shape (num_examples,).
    """
    keys = np.random.Philox(key=[seed, epoch]).random_raw(num_examples)
    return np.argsort(keys, kind="stable").astype(np.int32)
