"""A run that tests of the command line share."""

import pytest

from commands import TINY
from jbatch.cli import main


# In these tests jax has eight devices: 40 and 120 divide by them.
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", str(TINY), "growing", "--run-dir", str(directory)]) == 0
    return directory
