"""A checksum of a state on the devices: Orbax can read a file in which bits have changed."""

import jax
import jax.numpy as jnp

from jbatch.step.pure import State


@jax.jit
def checksum(state: State) -> jax.Array:
    """Return one checksum per leaf, (leaves,) uint32; one changed bit changes it. Any dtype.

    A checksum is the sum over a leaf's words, each times an odd number of its own, modulo 2³². It
    uses whole numbers, so it does not depend on how the state is sharded.
    """
    return jnp.stack([_weighted_sum(leaf) for leaf in jax.tree.leaves(state)])


def _weighted_sum(leaf: jax.Array) -> jax.Array:
    words = _words(leaf)
    odd = 2 * jax.lax.iota(jnp.uint32, words.size) + 1
    return (words.reshape(-1) * odd).sum(dtype=jnp.uint32)


def _words(leaf: jax.Array) -> jax.Array:
    """Return a leaf's bits as uint32: one word per number of up to 32 bits, two per 64 bits."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack((leaf.real, leaf.imag))
    if leaf.dtype == bool or jax.dtypes.itemsize_bits(leaf.dtype) < 8:
        leaf = leaf.astype(jnp.int8)
    unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
