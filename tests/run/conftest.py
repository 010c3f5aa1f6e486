"""A finished run, and its model."""

import pytest


@pytest.fixture(scope="session")
def first(tmp_path_factory):
    """(finished run, its directory as text)."""
    # pytest imports this file before it calls `pytest_configure`, after which JAX may start.
    import jbatch as jb
    from trained_runs import FIRST, ONE

    directory = str(tmp_path_factory.mktemp("first") / "run")
    return jb.fit(FIRST, directory, devices=ONE), directory


@pytest.fixture(scope="session")
def model(first):
    import jbatch as jb

    return jb.load(first[1])
