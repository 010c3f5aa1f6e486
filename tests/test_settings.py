"""Settings of the environment: none changes a bit, and splits and resumes hold under each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import TINY, end, newest, start
from jbatch.devices import sound
from jbatch.errors import Mistake
from jbatch.run.directory import read_run
from marks import slow

SETTINGS = {
    "both": {"JAX_ENABLE_X64": "1", "JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg"},
    "tree mode": {"NNX_GRAPH_MODE": "0"},  # what flax.nnx moves to
}
COMMAND = ("train", TINY, "growing", "--task.augment.flip")


def trained(directory, *options, stopped=False, **environment):
    """The digest of a run's parameters, made at one go or in two."""
    command = (*COMMAND, "--run-dir", directory, *options)
    if stopped:
        assert end(start(*command, "--until-phase", 1, **environment))[0] == 3
    code, _, err = end(start(*command, **environment))
    assert code == 0, err
    return newest(directory)[1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(directory of a run without any setting, digest of its parameters)"""
    directory = tmp_path_factory.mktemp("plain") / "run"
    return directory, trained(directory)


@pytest.mark.parametrize("name", ["both", slow("tree mode")])
def test_no_setting_changes_a_bit_of_a_run_and_it_resumes(name, plain, tmp_path):
    assert trained(tmp_path / "run", stopped=True, **SETTINGS[name]) == plain[1]
    recorded = read_run(tmp_path / "run")["environment"]
    assert recorded["jax_enable_x64"] is ("JAX_ENABLE_X64" in SETTINGS[name])


@pytest.mark.slow
def test_no_setting_changes_a_pixel(tmp_path):
    """Without padding, whose images are placed in another way."""
    plain = trained(tmp_path / "plain", "--task.augment.pad", 0)
    assert trained(tmp_path / "run", "--task.augment.pad", 0, **SETTINGS["both"]) == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["both", "tree mode"])
def test_splits_agree_under_any_setting(name):
    splits = ("tests/step/test_split.py", "-k", "8-3-shard_map or 2-1-shard_map")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *splits],
        cwd=Path(__file__).parent.parent,
        env=os.environ | SETTINGS[name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.slow
def test_another_setting_is_said_when_a_run_goes_on(plain):
    code, _, err = end(start(*COMMAND, "--run-dir", plain[0], JAX_ENABLE_X64="1"))
    assert code == 0
    assert "(jax_enable_x64 False there, True here)" in err


def test_a_compiler_that_computes_wrong_values_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sound, "version", lambda _: "0.10.2")
    monkeypatch.setattr(sound, "_right", lambda: False)
    sound.check_sound.cache_clear()
    with pytest.raises(Mistake, match=r"0\.10\.2 computes wrong values .* issue 39103.*XLA_FLAGS="):
        sound.check_sound()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sound.check_sound.cache_clear()
    sound.check_sound()  # really, on this one
    assert len(list(tmp_path.glob("jbatch/sound/*"))) == 1
    monkeypatch.setattr(sound, "_right", pytest.fail)  # found right before
    sound.check_sound.cache_clear()
    sound.check_sound()
