"""Users' own code, and flax's, mixes dtypes: JAX's default rules apply to it."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield
