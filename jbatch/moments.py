"""Adam's averages of gradients, under decays that may change from update to update."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Value = float | jax.Array  # a number, or one that a traced update is given


class Moments(NamedTuple):
    """Averages of gradients under decays that change; divided by their weights, without bias."""

    mean: Any  # like the parameters
    square: Any
    weight: jax.Array  # float32, the sum of the weights of all gradients in `mean`
    square_weight: jax.Array


def scale_by_adam(b1: Value, b2: Value, eps: Value) -> optax.GradientTransformation:
    """Return optax's scale_by_adam, or the same for decays that may change from update to update.

    optax takes the weights of t gradients to sum to 1 − βᵗ. Under changing decays they sum to 1 −
    β₁β₂…βₜ.
    """
    if not (isinstance(b1, jax.Array) or isinstance(b2, jax.Array)):
        return optax.scale_by_adam(b1, b2, eps)

    def init(params: Any) -> Moments:
        mean, square = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))  # both are donated
        return Moments(mean, square, jnp.float32(0), jnp.float32(0))

    def update(gradients: Any, old: Moments, params: Any = None) -> tuple[Any, Moments]:
        del params
        squares = jax.tree.map(jnp.square, gradients)
        new = Moments(
            _moved(old.mean, gradients, b1),
            _moved(old.square, squares, b2),
            _moved(old.weight, jnp.float32(1), b1),
            _moved(old.square_weight, jnp.float32(1), b2),
        )
        steps = jax.tree.map(
            lambda mean, square: (
                mean / new.weight / (jnp.sqrt(square / new.square_weight) + eps)
            ).astype(mean.dtype),
            new.mean,
            new.square,
        )
        return steps, new

    return optax.GradientTransformation(init, update)


def _moved(old: Any, new: Any, decay: Value) -> Any:
    """Return the averages after one more value: decay · old + (1 − decay) · new."""
    return jax.tree.map(lambda a, b: (decay * a + (1 - decay) * b).astype(a.dtype), old, new)
