"""Signals at any moment of any verb, and terminals that close."""

import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from commands import end, environment_of, start
from hostile.cases import TINY
from marks import slow

SOON = 60  # seconds: on an idle machine it is less than 10
LONG = ("--plan.num-epochs", 3000, "--save-every", 7)
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture(autouse=True)
def heard():
    """Processes hear SIGHUP, also where nohup started these tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def asked(process, number):
    """(exit code, seconds until it ended, stderr) of a process that is sent a signal."""
    begun = time.monotonic()
    process.send_signal(number)
    code, _, err = end(process)
    assert "Traceback" not in err
    return code, time.monotonic() - begun, err


def catches(pid, number):
    """Whether a process has begun to watch for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    [caught] = re.findall(r"SigCgt:\s*([0-9a-f]+)", status)
    return bool(int(caught, 16) >> (number - 1) & 1)


def until(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize(
    "verb",
    ["train", slow("sharpness")],
)
def test_in_the_first_seconds(verb, tmp_path):
    """While Python and JAX are imported: 130, of a verb that saves and of one that does not."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(10**6)\n")
    names = (tmp_path / "slow.py", "growing") if verb == "train" else (tmp_path,)
    for moment, number in zip((0, 0.2, 0.6), SIGNALS, strict=True):
        process = start(verb, *names)
        until(partial(catches, process.pid, SIGNALS[-1]), process)  # which is watched for last
        time.sleep(moment)
        if process.poll() is not None:
            process.communicate()
            continue
        code, seconds, err = asked(process, number)
        said = f"jbatch: {number.name}: stopped before anything was saved\n"
        assert (code, err) == (130, said), moment
        assert seconds < SOON


@pytest.mark.slow
def test_of_a_cluster_that_has_not_begun(tmp_path):
    place = ("--coordinator", "localhost:1", "--num-processes", 2, "--process-id", 1)
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run", "--distributed", *place)
    process = start(*command)
    until(partial(catches, process.pid, SIGNALS[-1]), process)
    time.sleep(2.5)
    code, seconds, err = asked(process, signal.SIGTERM)
    assert code == 130, err
    assert "nothing was saved" in err or "before anything was saved" in err
    assert seconds < SOON


@pytest.mark.slow
@pytest.mark.parametrize("number", [SIGNALS[0], SIGNALS[2]])
def test_in_a_run_of_several(number, tmp_path):
    """The run that is under way is saved, and no other begins."""
    command = ("compare", TINY, "--out", tmp_path / "out", "--seeds", 0, *LONG)
    process = start(*command)
    until(lambda: list(tmp_path.glob("out/*/seed-0/checkpoints/[0-9]*")), process)
    code, seconds, err = asked(process, number)
    assert code == 75
    assert seconds < SOON
    assert f"{number.name} at update" in err
    assert len(list(tmp_path.glob("out/*/seed-0/run.json"))) == 1


@pytest.mark.slow
def test_between_two_runs_of_several(tmp_path):
    """Wherever it comes, the runs that are made stay, and the code is 75."""
    command = ("compare", TINY, "growing", "--out", tmp_path / "out", "--seeds", *range(60))
    process = start(*command)
    until(lambda: (tmp_path / "out" / "growing" / "seed-1" / "run.json").exists(), process)
    code, seconds, err = asked(process, signal.SIGTERM)
    assert code == 75, err
    assert seconds < SOON
    assert len(list(tmp_path.glob("out/growing/seed-*"))) < 30


@pytest.mark.slow
def test_a_terminal_that_closes_does_not_end_a_run_that_ignores_it(tmp_path):
    """As nohup starts it, with a bar on a terminal that is gone in the middle."""
    parent, child = pty.openpty()
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run", "--plan.num-epochs", 60)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which processes inherit
    try:
        process = start(*command, new_group=True, terminal=child)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.close(child)
    until(lambda: (tmp_path / "run" / "checkpoints").exists(), process)
    os.close(parent)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=600) == 0
    assert (tmp_path / "run" / "checkpoints" / "90000").exists()


@pytest.mark.parametrize("closed", [">&- 2>&-", slow("2>&-")])
def test_without_stdout_or_stderr(closed, tmp_path):
    short = "--plan.num-epochs 1 --plan.batch-sizes 40 --plan.max-batch-size None"
    command = f"{sys.executable} -m jbatch train {TINY} growing --run-dir {tmp_path / 'run'}"
    line = ["bash", "-c", f"exec {command} {short} {closed}"]
    assert subprocess.run(line, env=environment_of(1), check=False).returncode == 0
    assert (tmp_path / "run" / "checkpoints" / "1500").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, slow(signal.SIGTERM)])
def test_of_what_is_prepared(number, tmp_path):
    """Wherever it comes, the same command makes the set complete, and says so the next time."""
    classes = [tmp_path / "pets" / split / "cat" for split in ("train", "val")]
    for folder in classes:
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "0.jpg")
        for index in range(1, 2000):
            os.link(folder / "0.jpg", folder / f"{index}.jpg")
    data = tmp_path / "data"
    command = ("prepare", "pets", "--from", tmp_path / "pets", "--data-dir", data)
    process = start(*command)
    until(lambda: list(data.rglob("source.json")), process)
    time.sleep(random.Random(number).uniform(0, 0.8))
    code, seconds, err = asked(process, number)
    assert code in (0, 75, 130, -signal.SIGKILL), err
    assert seconds < SOON
    for complete in (not list(data.rglob("*.incomplete")), True):
        code, out, err = end(start(*command))
        assert code == 0, err
        assert ("complete in" in out) == complete
    assert not list(data.rglob("*.incomplete"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "verb"),
    [(0, "train"), (1, "train"), (2, "train"), (0, "compare"), (1, "compare"), (0, "sweep")],
)
def test_at_random_moments(verb, seed, tmp_path):
    """75 or 130 soon, and the same command goes on."""
    draw = random.Random(f"{verb} {seed}")
    out = tmp_path / "out"
    command = {
        "train": ("train", TINY, "growing", "--run-dir", out),
        "compare": ("compare", TINY, "growing", "--out", out, "--seeds", 0, 1),
        "sweep": ("sweep", TINY, "--out", out, "--seeds", 0, "--grid", "plan.scaling=0.5,1"),
    }[verb]
    process = start(*command)
    until(partial(catches, process.pid, SIGNALS[-1]), process)  # on a busy machine, seconds
    time.sleep(draw.uniform(0, 5.7))
    if process.poll() is None:
        code, seconds, err = asked(process, draw.choice(SIGNALS))
        assert code in (0, 75, 130), err
        assert seconds < SOON
        assert code != 75 or list(tmp_path.glob("out/**/checkpoints/[0-9]*"))
    else:
        process.communicate()
    code, _, err = end(start(*command))
    assert code == 0, err
