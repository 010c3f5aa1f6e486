"""Random keys of examples."""

import jax


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
