"""How far parameters move: from where they began, and from one log point to the next."""

import jax
import jax.numpy as jnp


class Distances:
    """Remembers where parameters were."""

    def __init__(self, params):
        """Begin at `params`, which may be donated afterwards."""
        self._first = self._last = jax.tree.map(jnp.copy, params)

    def since(self, params) -> dict[str, float]:
        """L2 norms of how far `params` are from the first and the last ones seen.

        Over all parameters as one vector, accumulated in float32.
        """
        found = {
            "distance": float(_distance(params, self._first)),
            "moved": float(_distance(params, self._last)),
        }
        self._last = jax.tree.map(jnp.copy, params)
        return found


@jax.jit
def _distance(here, there) -> jax.Array:
    return jnp.sqrt(
        sum(
            jnp.square(a - b).sum()
            for a, b in zip(*map(jax.tree.leaves, (here, there)), strict=True)
        )
    )
