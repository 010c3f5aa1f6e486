"""Eight simulated devices and strict promotion, set before JAX starts."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"

import pytest
from hypothesis import settings

# Two cores shared with a compiler: a slow example is no failing one. Derandomized, so that a
# change and not chance turns the suite red.
settings.register_profile("jbatch", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("jbatch")


def pytest_addoption(parser):
    parser.addoption(
        "--write-golden", action="store_true", help="write experiments/golden/ anew, then review"
    )


@pytest.fixture
def write_golden(request) -> bool:
    return request.config.getoption("--write-golden")
