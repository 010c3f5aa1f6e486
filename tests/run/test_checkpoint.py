"""Checkpoints that are damaged, unfinished, or have no room: the one before is what counts."""

import errno
import gc
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import FAULTS, TINY, end, environment_of, newest, run, start
from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.run.build import make_setup
from jbatch.run.checkpoint import Checkpoints, SaveFailed, parameters_digest
from jbatch.run.checksum import checksum
from jbatch.run.directory import read_run
from jbatch.run.loop import fit, run_until
from jbatch.run.progress import Lines
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run
from jbatch.step import programs
from runs import without_times

# Tensorstore's threads still call the event loop of what has failed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

GROWING = load_experiment_file(TINY).variant("growing")


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_collect():
    """What has failed is not to be found in a test of another file."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "finished"
    return fit(GROWING, directory, devices=jax.devices()[:1]), directory


@pytest.fixture(scope="module")
def start_state():
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), jax.devices()[:1])
    return programs.initializer(setup)(np.uint32(0))


def data_files(directory: Path) -> list[Path]:
    """The larger ones first: that of the parameters is the first."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return sorted(files, key=lambda path: (-path.stat().st_size, path))


def truncate(directory):
    for file in directory.rglob("d/*"):
        file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path, bit: int):
    contents = bytearray(file.read_bytes())
    contents[bit // 8 % len(contents)] ^= 1 << bit % 8
    file.write_bytes(contents)


def fifo(directory):
    file = data_files(directory)[0]
    file.unlink()
    os.mkfifo(file)


DAMAGES = {
    "truncated": truncate,
    "a bit flipped": lambda directory: flip(data_files(directory)[0], 40_000),
    "data missing": lambda directory: data_files(directory)[0].unlink(),
    "a FIFO in place of data": fifo,
    "metadata garbled": lambda directory: next(directory.rglob("_METADATA")).write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_gone_on_from(finished, tmp_path, damage, capsys):
    whole, directory = finished
    directory = shutil.copytree(directory, tmp_path / "run")
    damage(directory / "checkpoints" / "6000")
    again = fit(GROWING, directory, devices=jax.devices()[:1], progress=Lines())
    said = capsys.readouterr().err
    assert "warning: the checkpoint of 6,000 examples is damaged (" in said
    assert "resumes at update 86" in said
    assert parameters_digest(again.state.params) == parameters_digest(whole.state.params)
    assert without_times(directory) == without_times(finished[1])
    assert (directory / "damaged" / "6000").is_dir()
    assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == ["4500", "6000"]


def test_no_flipped_bit_leads_to_another_state(finished, start_state, tmp_path):
    """Anywhere in a checkpoint: it is found, or does not matter."""
    whole, directory = finished
    run_id = read_run(directory)["id"]
    draw = random.Random(5).randrange
    found = 0
    for number in range(24):
        copy = shutil.copytree(directory / "checkpoints" / "6000", tmp_path / f"{number}" / "6000")
        files = data_files(copy)
        flip(files[number % len(files)], draw(1 << 30))
        with closing(Checkpoints(copy.parent, pytest.fail, run_id, read_only=True)) as checkpoints:
            try:
                _, state = checkpoints.restore(start_state)
            except Mistake:  # that none is whole
                found += 1
                continue
        for mine, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(whole.state), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert found >= 3


def test_what_was_not_finished_is_named(finished, tmp_path, capsys):
    _, directory = finished
    directory = shutil.copytree(directory, tmp_path / "run")
    newest = directory / "checkpoints" / "6000"
    newest.rename(newest.with_name("6000.orbax-checkpoint-tmp"))
    fit(GROWING, directory, devices=jax.devices()[:1], progress=Lines())
    said = capsys.readouterr().err
    assert "the checkpoint of 6,000 examples is incomplete" in said
    assert without_times(directory) == without_times(finished[1])


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
    st.integers(0, 39),
    st.integers(0, 31),
)
def test_checksums_see_every_bit(words, place, bit):
    words = np.array(words, np.uint32)
    other = words.copy()
    other[place % len(words)] ^= np.uint32(1 << bit)
    before, after = (checksum({"w": jnp.asarray(array)}) for array in (words, other))
    assert before.shape == (1,)
    assert before.dtype == np.uint32
    assert before != after


def test_checksums_do_not_depend_on_where_a_state_lies():
    leaf = jax.random.normal(jax.random.key(0), (16, 3))
    mesh = meshes.make_mesh(jax.devices())
    everywhere = [
        jax.device_put(leaf, sharding) for sharding in (meshes.replicated(mesh), meshes.split(mesh))
    ]
    expected = (np.asarray(leaf).view(np.uint32).ravel().astype(object) * range(1, 97, 2)).sum()
    assert [int(checksum(one)[0]) for one in everywhere] == [expected % 2**32] * 2


def test_a_save_that_fails_late_is_said_at_the_next(tmp_path, start_state):
    """And a later one succeeds, with those before it whole and no half ones left."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(Checkpoints(tmp_path / "checkpoints", pytest.fail)) as checkpoints:
        for examples in (10, 20):
            checkpoints.save(examples, start_state)
        checkpoints.wait()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, limits[1]))
            checkpoints.save(30, start_state)
            with pytest.raises(SaveFailed, match="too large"):
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert checkpoints.newest == 20
        checkpoints.save(40, start_state)
        checkpoints.wait()
        assert checkpoints.newest == 40
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["20", "40"]


def test_a_save_that_cannot_be_begun_is_no_save(tmp_path, monkeypatch, capsys):
    import orbax.checkpoint as ocp

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(Mistake, match=r"checkpoint at update 98 \(No space .*Free disk space"):
        fit(GROWING, tmp_path / "run", devices=jax.devices()[:1], progress=Lines())
    assert "a checkpoint (No space left on device). There is no checkpoint yet" in (
        capsys.readouterr().err
    )


# ---- a full disk ------------------------------------------------------------------------------


def on_a_small_disk(folder: Path, *options, **environment) -> tuple[int, str]:
    """(exit code, stderr) of training on 2 MiB that this command alone sees; its run is kept."""
    small = folder / "small"
    small.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "jbatch", "train", FAULTS, "growing", "--run-dir", "run"]
    script = (
        f"mount -t tmpfs -o size=2m none {small} && cd {small} && cp -r {folder}/run . 2>/dev/null;"
        f"{' '.join(map(str, (*command, *options)))}; code=$?;"
        f"rm -rf {folder}/run; cp -r run {folder}; exit $code"
    )
    arguments = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    environment = environment_of(devices=1) | environment
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def can_mount() -> bool:
    command = "unshare --user --map-root-user --mount mount -t tmpfs none /mnt"
    return shutil.which("unshare") is not None and not os.system(command)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "run"
    run("train", TINY, "growing", "--run-dir", directory)
    return directory


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no file system of one's own can be mounted here")
class TestFullDisk:
    """A checkpoint does not fit; a few bytes of metrics do, or not even those."""

    def test_a_run_goes_on_until_there_is_room_again(self, undisturbed, tmp_path):
        code, err = on_a_small_disk(tmp_path, FAULT="full disk", SAVES="2-4", FREE="65536")
        assert code == 0, err
        assert re.search(r"warning: .*\(No space left on device\)\. .* update 37\b", err)
        assert "Traceback" not in err
        assert newest(tmp_path / "run") == newest(undisturbed)

    def test_a_run_that_ends_without_room_says_so_and_loses_nothing(self, undisturbed, tmp_path):
        code, err = on_a_small_disk(tmp_path, FAULT="full disk", SAVES="2-9", FREE="65536")
        assert code == 2, err
        assert "the checkpoint at update 98 (No space left on device)" in err
        assert "Traceback" not in err
        assert newest(tmp_path / "run")[0] == 37
        code, err = on_a_small_disk(tmp_path)
        assert code == 0, err
        assert newest(tmp_path / "run") == newest(undisturbed)
        assert without_times(tmp_path / "run") == without_times(undisturbed)

    def test_a_run_without_room_for_a_line_stops_and_loses_nothing(self, undisturbed, tmp_path):
        often, fault = ("--log-every", "0.02"), {"FAULT": "full disk", "SAVES": "2-9", "FREE": "0"}
        code, err = on_a_small_disk(tmp_path, *often, **fault)
        assert code == 2, err
        assert re.search("jbatch: no space .* to run. .* the same command to resume", err)
        assert "Traceback" not in err
        assert newest(tmp_path / "run")[0] == 37
        code, err = on_a_small_disk(tmp_path, *often)
        assert code == 0, err
        assert newest(tmp_path / "run") == newest(undisturbed)


@pytest.mark.slow
def test_a_folder_that_turns_read_only_is_no_end(tmp_path):
    """A message, exit code 2, and the last checkpoint is gone on from."""
    folder = tmp_path / "run" / "checkpoints"
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run", "--plan.num-epochs", 60)
    process = start(*command)
    while not folder.is_dir() or not any(path.name.isdecimal() for path in folder.iterdir()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    mounted = subprocess.run(["mount", "--bind", folder, folder], check=False).returncode == 0
    if not mounted:
        process.kill()
        process.communicate()
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        code, _, err = end(process)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    assert code == 2, err
    assert re.search(r"update \d+ \(Read-only file system\)\. .* update \d+\. ", err)
    assert "Traceback" not in err
    code, _, err = end(start(*command, "--until-phase", 1))
    assert code == 3, err


def test_the_first_checkpoint_is_read_again(tmp_path, monkeypatch):
    with open_run(GROWING, tmp_path / "run", devices=jax.devices()[:1]) as run:
        run_until(run, 80)
        run.checkpoints.wait()  # as all is well
        assert run.checkpoints._proved
    with open_run(GROWING, tmp_path / "other", devices=jax.devices()[:1]) as run:
        monkeypatch.setattr(Checkpoints, "_read", lambda *_: 1 / 0)
        run_until(run, 37)
        with pytest.raises(SaveFailed, match="it cannot be read back: division by zero"):
            run.checkpoints.wait()


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float32", "int8", "uint8", "int32", "uint16", "bool", "int4"]
)
@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (5,)])
def test_checksums_are_of_any_dtype(dtype, shape):
    leaf = jnp.zeros(shape, dtype)
    flat = np.asarray(leaf).reshape(-1)
    changed = flat.copy()
    changed[-1] = 1
    one, other = (checksum([jnp.asarray(values).reshape(shape)]) for values in (flat, changed))
    assert one.dtype == np.uint32
    assert int(one[0]) != int(other[0])


def test_checksums_are_of_keys_and_complex_numbers_too():
    keys = [jax.random.key(seed, impl="threefry2x32") for seed in (0, 1)]
    assert int(checksum([keys[0]])[0]) != int(checksum([keys[1]])[0])
    values = [jnp.zeros(3, jnp.complex64), jnp.zeros(3, jnp.complex64).at[1].set(1j)]
    assert int(checksum([values[0]])[0]) != int(checksum([values[1]])[0])
