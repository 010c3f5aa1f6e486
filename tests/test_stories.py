"""Stories of docs/your_own.md in processes of their own: killed, and as a cluster."""

import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jbatch
from commands import end, end_all, start, start_all
from jbatch.analysis.split_check import TOLERANCES
from jbatch.run.build import counted
from runs import without_times
from test_examples import EXAMPLES
from trained_runs import same

AS_USERS = {"JAX_NUMPY_DTYPE_PROMOTION": "standard"}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("standard_promotion")]


def command(name: str, directory: Path, *options):
    """The arguments of a story's training."""
    file = EXAMPLES / f"{name}.py"
    return (file, "grow", "--run-dir", directory, "--micro-batch", 64, *options)


def train(*arguments):
    """Train to the end."""
    code, _, err = end(start("train", *arguments, **AS_USERS))
    assert code == 0, err


def test_killed_it_ends_with_the_same_bits(tmp_path):
    """Read by workers."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ("--plan.num-epochs", 4, "--save-every", 0.3)
    train(*command("audio", whole, *options))
    process = start("train", *command("audio", killed, *options), **AS_USERS)
    while process.poll() is None and not any(
        path.name.isdecimal() for path in killed.glob("checkpoints/*")
    ):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    train(*command("audio", killed, *options))
    assert same(jbatch.load(killed).params, jbatch.load(whole).params)
    assert without_times(killed) == without_times(whole)


def test_two_processes_are_one(tmp_path):
    """With groups; after three updates, as `jbatch check` compares splits."""
    plan = counted(jbatch.load_file(EXAMPLES / "contrastive.py").variants["grow"]).plan
    options = ("--plan.num-epochs", 3 * plan.batch_size / plan.num_examples)
    train(*command("contrastive", tmp_path / "one", *options))
    two = start_all(2, *command("contrastive", tmp_path / "two", *options), devices=2, **AS_USERS)
    for code, _, err in end_all(two):
        assert code == 0, err
    mine, theirs = (jbatch.load(tmp_path / each).params for each in ("two", "one"))
    for here, there in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        largest = np.abs(there).max()
        np.testing.assert_allclose(here, there, rtol=0, atol=TOLERANCES["float32"] * largest)
