"""What a machine lets a process have: quotas, open files, a home."""

import os
import re
import resource
import subprocess
import sys

import pytest

from commands import TINY, end, environment_of, start
from jbatch import machine
from jbatch.errors import Mistake
from jbatch.machine import allow_open_files, schedulable_cores, usable_cores
from jbatch.run.libraries import bound
from photographs import write_folder


@pytest.mark.parametrize(
    ("listed", "files", "cores"),
    [
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "300000 100000"}, 3),
        ("0::/a", {"unified/a/cpu.max": "200000 100000"}, 2),
        ("0::/elsewhere", {"cpu.max": "50000 100000"}, 1),  # as a container sees its own
        ("4:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000"}, 4),
        ("4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1"}, 64),
        ("4:memory:/a", {"memory/a/cpu.cfs_quota_us": "100000"}, 64),
        ("0::/a", {"a/cpu.max": "nonsense"}, 64),
        ("0::/a", {}, 64),
    ],
)
def test_a_quota_counts(listed, files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        path.with_name("cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cgroup").write_text(listed + "\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "schedulable_cores", lambda: 64)
    assert usable_cores() == cores


def test_a_cache_keeps_what_was_used_last(tmp_path):
    for age, name in enumerate("abcdef"):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    bound(tmp_path, 600)
    assert len(list(tmp_path.iterdir())) == 6
    bound(tmp_path, 500)  # down to 375
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}


def test_cores_are_there():
    assert 1 <= usable_cores() <= schedulable_cores()


def test_open_files_are_allowed_as_far_as_the_system_does(monkeypatch):
    limits = [100, 500]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.__setitem__(0, pair[0]))
    allow_open_files(80, "3 data workers")
    assert limits == [100, 500]
    allow_open_files(500, "3 data workers")
    assert limits == [500, 500]
    with pytest.raises(Mistake, match=r"3 data workers need 501 open files, but only 500"):
        allow_open_files(501, "3 data workers")


@pytest.mark.slow
@pytest.mark.parametrize("soft", [True, False])
def test_few_open_files_are_more_or_a_message(soft, tmp_path):
    write_folder(tmp_path / "data", 96, 16)
    file = TINY.with_name("tiny_photographs.py")
    command = f"{sys.executable} -m jbatch train {file} growing --data.source.path {tmp_path}/data"
    limit = "ulimit -Sn 64" if soft else "ulimit -n 64"
    ran = subprocess.run(
        ["bash", "-c", f"{limit}; {command} --data.workers 3 --run-dir {tmp_path}/run"],
        env=environment_of(1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == (0 if soft else 2), ran.stderr
    assert soft or "need 100 open files, but only 64" in ran.stderr
    assert "Traceback" not in ran.stderr


NO_HOME = """
import os, pwd, sys

def none(_):
    raise KeyError("no such user")

pwd.getpwuid = none
for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "JAX_COMPILATION_CACHE_DIR"):
    os.environ.pop(name, None)
from jbatch.cli import command_line
command_line()
"""


@pytest.mark.slow
def test_a_user_without_a_home_trains(tmp_path):
    (tmp_path / "run.py").write_text(NO_HOME)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, tmp_path / "run.py", *map(str, arguments)],
            env=environment_of(1),
            capture_output=True,
            text=True,
            check=False,
        )

    trained = run("train", TINY, "growing", "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr.count("cannot save the key that marks runs as yours (there is no") == 1
    assert "Traceback" not in trained.stderr
    evaluated = run("eval", tmp_path / "run")
    assert (evaluated.returncode, "pass --trust" in evaluated.stderr) == (2, True)
    assert run("eval", tmp_path / "run", "--trust").returncode == 0


@pytest.mark.slow
def test_a_home_that_cannot_be_written_to_is_said(tmp_path):
    for name in (".cache", ".local"):
        (tmp_path / name).write_text("in the way")
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "XDG_STATE_HOME": ""}
    command = ("train", TINY, "growing", "--run-dir", tmp_path / "run")
    code, _, err = end(start(*command, **environment, JAX_COMPILATION_CACHE_DIR=""))
    assert code == 0, err
    assert re.search(r"cannot save the key that marks runs as yours \(.*Not a directory", err)
    assert "Traceback" not in err
