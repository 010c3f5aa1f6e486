"""Users' own code, and flax's, mixes dtypes."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def promotion(standard_promotion):
    """All of these tests have JAX's default rules."""
