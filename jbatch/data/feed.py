"""What the compiled step reads its examples from."""

from functools import lru_cache

import jax
import numpy as np

from jbatch.data.order import epoch_order
from jbatch.data.resident import Resident


class ResidentFeed:
    """A training set on the devices, and the order of the current epoch beside it."""

    def __init__(self, resident: Resident, seed: int, sharding: jax.sharding.Sharding):
        count = resident.labels.shape[0]
        self._resident = resident
        self._seed = jax.device_put(np.uint32(seed), sharding)
        self._order = lru_cache(1)(
            lambda epoch: jax.device_put(epoch_order(seed, epoch, count), sharding)
        )

    def epoch(self, epoch: int) -> tuple:
        """Arguments of the compiled step for an epoch: (resident, order, seed)."""
        return self._resident, self._order(epoch), self._seed
