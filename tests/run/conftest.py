"""A finished run, and its model."""

import pytest

import jbatch as jb
from trained_runs import FIRST, ONE


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """(finished run, its directory as text)."""
    directory = str(tmp_path_factory.mktemp("first") / "run")
    return jb.fit(FIRST, directory, devices=ONE), directory


@pytest.fixture(scope="module")
def model(first):
    return jb.load(first[1])
