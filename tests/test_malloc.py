import os
import subprocess
import sys

import pytest

from jbatch.devices import malloc

WITH_MADVISE = "always [madvise] never"
NEEDED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
AGAIN = """
import os, sys
from pathlib import Path
from jbatch.devices import malloc
malloc.KERNEL = Path(sys.argv[1])
print("begun", flush=True)
malloc.restart_with_huge_pages()
told = b"hugetlb=1" in Path("/proc/self/environ").read_bytes()
print(os.getpid(), told, "GLIBC_TUNABLES" in os.environ, sys.argv[2:])
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
@pytest.mark.parametrize("enabled", [WITH_MADVISE, "always madvise [never]"])
def test_a_program_begins_again_at_most_once(kernel, enabled):
    kernel.write_text(enabled)
    command = [sys.executable, "-c", AGAIN, str(kernel), "a b", "--c"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first, *rest = process.stdout.read().splitlines()
    again = enabled == WITH_MADVISE
    expected = f"{process.pid} {again} False ['a b', '--c']"
    assert [first, *rest] == ["begun"] * (1 + again) + [expected]


def test_only_verbs_that_train_begin_again():
    """The others start as fast as they did."""
    for verb in ("train", "plan"):
        script = (
            "import sys, jbatch.cli as cli\n"
            f"sys.argv[1:] = [{verb!r}, '--help']\n"
            "cli.restart_with_huge_pages = lambda: print('again', flush=True)\n"
            "cli.command_line()"
        )
        found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert found.stdout.startswith("again\n") == (verb == "train"), found.stderr
