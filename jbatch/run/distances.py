"""Measure how far parameters move: from their initial values, and between log points."""

import jax
import numpy as np
import numpy.typing as npt

from jbatch.task.base import Tree

Leaves = list[npt.NDArray[np.float32]]


class Distances:
    """Keeps the initial and last parameters, on the host to save device memory."""

    def __init__(self, params: Tree):
        """Start at `params`, which may be donated afterwards."""
        self._first = _on_host(params)
        self._last: Leaves | None = self._first

    def resume(self) -> None:
        """Forget the last log point, because the parameters now come from a checkpoint."""
        self._last = None

    def since(self, params: Tree) -> dict[str, float]:
        """Return the L2 distances of `params` to the initial ones and to the last ones.

        All parameters form one vector. "moved" is left out for the first call after `resume`.
        """
        here = _on_host(params)
        found = {"distance": _distance(here, self._first)}
        if self._last is not None:
            found["moved"] = _distance(here, self._last)
        self._last = here
        return found


def _on_host(params: Tree) -> Leaves:
    # Copied, because on CPUs `device_get` may return the device's own memory, which is donated.
    return [np.array(leaf) for leaf in jax.tree.leaves(jax.device_get(params))]


def _distance(here: Leaves, there: Leaves) -> float:
    squares = (np.square(a - b).sum(dtype=np.float64) for a, b in zip(here, there, strict=True))
    return float(np.sqrt(sum(squares)))
