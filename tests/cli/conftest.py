"""A run that tests of the command line share."""

import shutil

import pytest

from commands import TINY
from jbatch.cli import main


# In these tests jax has eight devices: 40 and 120 divide by them.
@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", str(TINY), "growing", "--run-dir", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def trained(trained_once, tmp_path_factory):
    """A copy for each file, whose tests may write into it."""
    return shutil.copytree(trained_once, tmp_path_factory.mktemp("cli") / "run")
