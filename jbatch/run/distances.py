"""How far parameters move: from where they began, and from one log point to the next."""

import jax
import numpy as np


class Distances:
    """Remembers where parameters were; on the host, so that it takes no device's memory."""

    def __init__(self, params):
        """Begin at `params`, which may be donated afterwards."""
        self._first = self._last = _on_host(params)

    def resume(self) -> None:
        """Forget the last log point: the parameters are those of a checkpoint now."""
        self._last = None

    def since(self, params) -> dict[str, float]:
        """L2 norms of how far `params` are from the first ones, and from those seen last.

        Over all parameters as one vector. The second is left out where none was seen since
        `resume`.
        """
        here = _on_host(params)
        found = {"distance": _distance(here, self._first)}
        if self._last is not None:
            found["moved"] = _distance(here, self._last)
        self._last = here
        return found


def _on_host(params) -> list[np.ndarray]:
    # Copied: on CPUs what `device_get` gives may be the device's own memory, which is donated.
    return [np.array(leaf) for leaf in jax.tree.leaves(jax.device_get(params))]


def _distance(here: list[np.ndarray], there: list[np.ndarray]) -> float:
    squares = (np.square(a - b).sum(dtype=np.float64) for a, b in zip(here, there, strict=True))
    return float(np.sqrt(sum(squares)))
