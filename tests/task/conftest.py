"""Users' own code, and flax's, mixes dtypes: JAX's default rules apply to it."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def standard_promotion():
    strict = jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_numpy_dtype_promotion", "standard")  # in the compiling thread too
    yield
    jax.config.update("jax_numpy_dtype_promotion", strict)
