import os
import runpy
import subprocess
import sys

import pytest

from benchmarks import outcome
from jbatch.devices import malloc

WITH_MADVISE = "always [madvise] never"
NEEDED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
PROGRAM = """
import os, sys
from pathlib import Path
from jbatch.devices import malloc
malloc.KERNEL = Path(sys.argv[1])
print("begun", Path("/proc/self/comm").read_text().strip(), flush=True)
malloc.restart_with_huge_pages("program")
told = b"hugetlb=1" in Path("/proc/self/environ").read_bytes()
left = {"GLIBC_TUNABLES", "JBATCH_STARTED_AGAIN"} & {*os.environ}
print(os.getpid(), Path("/proc/self/comm").read_text().strip(), told, left, sys.argv[2:])
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """The file by which the kernel says who gets huge pages, on a machine with a new glibc."""
    path = tmp_path / "enabled"
    path.write_text(WITH_MADVISE + "\n")
    monkeypatch.setattr(malloc, "KERNEL", path)
    monkeypatch.setattr(malloc, "_glibc", lambda: (2, 36))
    for name in [name for name in os.environ if "MALLOC_" in name or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    return path


def test_huge_pages_are_asked_for_where_the_kernel_leaves_it_to_us(kernel):
    assert malloc.huge_pages() == NEEDED
    for other in ("[always] madvise never", "always madvise [never]"):
        kernel.write_text(other)
        assert malloc.huge_pages() == {}
    kernel.unlink()
    assert malloc.huge_pages() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_ARENA_MAX", "1"), ("GLIBC_TUNABLES", "glibc.cpu.x86_ibt=on")],
)
def test_what_a_person_has_told_glibc_stays(kernel, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert malloc.huge_pages() == {}


def test_an_old_glibc_is_not_asked(kernel, monkeypatch):
    monkeypatch.setattr(malloc, "_glibc", lambda: (2, 34))
    assert malloc.huge_pages() == {}


@pytest.mark.skipif(malloc._glibc() < (2, 35), reason="needs glibc 2.35")
@pytest.mark.parametrize(
    ("start", "enabled"),
    [
        ("./program", WITH_MADVISE),
        ("./program", "always madvise [never]"),
        (f"{sys.executable} -m program", WITH_MADVISE),
    ],
)
def test_a_program_begins_again_at_most_once(kernel, start, enabled, tmp_path):
    kernel.write_text(enabled)
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n{PROGRAM}")
    program.chmod(0o755)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [*start.split(), str(kernel), "a b", "--c"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        *begun, last = process.stdout.read().splitlines()
    name = begun[0].removeprefix("begun ")
    again = enabled == WITH_MADVISE
    assert len(begun) == 1 + again
    assert last == f"{process.pid} {name} {again} set() ['a b', '--c']"


@pytest.mark.parametrize(
    ("command", "arguments", "own"),
    [
        ("bin/jbatch train a b", "train a b", True),
        ("-X utf8 -u -Werror -W default bin/jbatch train", "train", True),
        ("-m jbatch train", "train", True),
        ("-P -m jbatch", "", True),
        ("-um jbatch train", "train", True),
        ("-uX utf8 -- bin/jbatch train", "train", True),
        ("--check-hash-based-pycs always -m jbatch train", "train", True),
        ("-m runpy jbatch train", "train", False),
        ("- jbatch train", "train", False),
        ("-c import… train", "train", False),
        ("wrapper.py train", "train", False),
        ("wrapper.py", "train", False),  # it sets sys.argv
        ("- train", "train", False),
        ("-m pdb -m jbatch train", "train", False),
        ("-mpdb -m jbatch train", "train", False),
        ("-m pdb bin/jbatch train", "train", False),
        ("bin/coverage run bin/jbatch train", "train", False),
        ("-m debugpy --listen 5678 -m jbatch train", "train", False),
        ("-c spawn_main() --multiprocessing-fork", "train", False),
        ("", "", False),
    ],
)
def test_only_a_program_that_python_itself_runs_begins_again(monkeypatch, command, arguments, own):
    """One around it may have read its input, made folders or be watched: not to be done twice."""
    monkeypatch.setattr(sys, "orig_argv", ["python", *command.split()])
    monkeypatch.setattr(sys, "argv", ["jbatch", *arguments.split()])
    assert malloc.runs_as("jbatch") == own


def test_a_program_whose_variable_gets_lost_begins_again_once(kernel, monkeypatch):
    """A wrapper or the loader of a privileged program may remove it."""
    starts = []
    monkeypatch.setattr(os, "execve", lambda *arguments: starts.append(arguments[2]))
    monkeypatch.setattr(malloc, "runs_as", lambda _: True)
    malloc.restart_with_huge_pages("jbatch")
    [environment] = starts
    monkeypatch.setenv(malloc.AGAIN, environment[malloc.AGAIN])
    malloc.restart_with_huge_pages("jbatch")
    assert len(starts) == 1
    assert malloc.AGAIN not in os.environ


def test_a_benchmark_knows_its_own_name(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "benchmarks.peers", "--help"])
    monkeypatch.setattr(sys, "argv", ["/checkout/benchmarks/peers.py", "--help"])
    started = []
    monkeypatch.setattr(outcome, "restart_with_huge_pages", started.append)
    with pytest.raises(SystemExit):
        outcome.run(print, outcome.Common, "")
    assert malloc.runs_as(*started)


@pytest.mark.parametrize(
    ("arguments", "again"),
    [(["train", "--help"], True), (["plan", "--help"], False), (["train", "--distributed"], False)],
)
def test_what_trains_begins_again(arguments, again):
    """Other verbs start as fast as they did, and of a cluster's processes the child trains."""
    script = (
        "import sys, jbatch.cli as cli\n"
        f"sys.argv[1:] = {arguments}\n"
        "cli.restart_with_huge_pages = lambda name: print('again', name, flush=True)\n"
        "cli.main = lambda: print('main', flush=True) or 0\n"
        "cli.command_line()"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout == "again jbatch\n" * again + "main\n"


def test_the_child_of_a_clusters_process_begins_again(monkeypatch):
    called = []
    monkeypatch.setattr(malloc, "restart_with_huge_pages", called.append)
    monkeypatch.setattr("jbatch.distributed.watchdog.end_with_parent", lambda _: sys.exit(5))
    monkeypatch.setattr(sys, "argv", ["member.py", "1"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-P", "-m", "jbatch.cli.member", "1"])
    with pytest.raises(SystemExit, match="5"):
        runpy.run_module("jbatch.cli.member", run_name="__main__")
    assert malloc.runs_as(*called)
