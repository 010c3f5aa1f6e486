"""The order of examples; only this module decides it."""

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
