"""Eight simulated devices and strict promotion, set before JAX starts."""

import atexit
import gc
import os
import shutil
import tempfile

# One folder for all temporary files of a session, its workers and the processes that they start:
# also for those that a killed process or a library leaves. pytest's own stay where they are.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="jbatch-tests-")
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
# Shared by the session's processes, and not with the person's own; of small programs too. Several
# sessions share the folder that .ci/run names.
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ.get(
    "JBATCH_TESTS_XLA", os.path.join(tempfile.gettempdir(), "xla")
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["MPLCONFIGDIR"] = os.path.join(tempfile.gettempdir(), "matplotlib")  # a list of fonts
# Not the person's own key, nor what was chosen and found before.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), "cache")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

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


def pytest_configure(config):
    """Default tests compile quickly; long ones as a run does.

    A program that runs a few times is not worth LLVM's optimizations, which are half of what a test
    takes. What XLA itself does to a program is the same.
    """
    if "not slow" in config.option.markexpr:
        os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0"


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # a collection need not look at what the imports have made


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
def undrawn(monkeypatch):
    """Reports without figures, which take a second: for tests of what else a report says."""
    monkeypatch.setattr("jbatch.report.figures.figures", lambda *_: [])


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
