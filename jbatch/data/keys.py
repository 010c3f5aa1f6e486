"""Random keys and numbers of examples."""

import jax
import jax.numpy as jnp

TURNS = 2**32 - 1  # folded into the seed's key in the place of an epoch


def example_keys(seed: jax.Array, epoch: jax.Array, places: jax.Array) -> jax.Array:
    """Derive a random key for each example from its position alone.

    Args:
        seed: uint32 scalar.
        epoch: uint32 scalar.
        places: (B,) uint32, within the epoch.

    Returns:
        (B,) keys.
    """
    # Always threefry, whatever JAX's default: under vmap, rbg's numbers depend on the batch.
    epoch_key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), epoch)
    return jax.vmap(lambda place: jax.random.fold_in(epoch_key, place))(places)


def example_turns(seed: jax.Array, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """Return a random number of each example of the dataset, plus the epoch.

    Its last bit is random in the first epoch, and changes with every epoch.

    Args:
        seed: uint32 scalar.
        epoch: uint32 scalar.
        index: (B,) of the examples in the dataset.

    Returns:
        (B,) uint32.
    """
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), jnp.uint32(TURNS))

    def own(index: jax.Array) -> jax.Array:
        number: jax.Array = jax.random.bits(jax.random.fold_in(key, index), dtype="uint32")
        return number

    return jax.vmap(own)(index.astype(jnp.uint32)) + epoch.astype(jnp.uint32)
