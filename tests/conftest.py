"""Eight simulated devices and strict promotion, set before JAX starts."""

import os
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
# Shared with the processes that tests start, and not with the person's own.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jbatch-tests-")
# Not the person's own key, nor what was chosen and found before.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="jbatch-tests-")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="jbatch-tests-")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import atexit
import shutil

import pytest
from hypothesis import settings

for made in ("JAX_COMPILATION_CACHE_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
    atexit.register(shutil.rmtree, os.environ[made], ignore_errors=True)

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


@pytest.fixture(scope="module")
def standard_promotion():
    """JAX's default rules, for users' own code and flax's, which mix dtypes."""
    import jax  # after the environment above

    strict = jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_numpy_dtype_promotion", "standard")  # in the compiling thread too
    yield
    jax.config.update("jax_numpy_dtype_promotion", strict)


@pytest.fixture
def jbatch(capsys):
    """Run a command: (exit code, stdout, stderr)."""

    from jbatch.cli import main  # after the environment above

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # tyro's own
            code = exit.code
        out, err = capsys.readouterr()
        return code, out, err

    return run
