"""The examples that a network is trained on or evaluated on."""

from typing import NamedTuple

import jax


class Batch(NamedTuple):
    """A device's examples of a pass."""

    images: jax.Array  # (B, H, W, C) float32, normalized
    labels: jax.Array  # (B,) int32
    keys: jax.Array | None  # (B,) a random key per example; None in evaluation
