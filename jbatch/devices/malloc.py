"""Tell glibc to keep the memory that XLA frees, and to ask the kernel for huge pages.

XLA's CPU client allocates the arrays of each update anew, and by default glibc returns large ones
to the system at once: each of their pages is a page fault in each update. `keep_memory` stops this
but for arrays of over 64 MiB in XLA's own threads, which glibc always maps anew. Huge pages make
512 faults one. glibc asks for them only if it is told when the process starts.
"""

import ctypes
import os
import sys
from contextlib import suppress
from getopt import GetoptError, getopt
from pathlib import Path

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # glibc's malloc.h
KEPT = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 64 << 20))
TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
AGAIN = "JBATCH_STARTED_AGAIN"  # environment variable: id and name of the process that has
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
NAME = Path("/proc/self/comm")  # by which `pkill` and `top` know a process
OPTIONS = "bBcdEiImOPqsSuvW:xX:"  # of Python; -c and -m without what they run, which ends them


def keep_memory() -> None:
    """Let this process keep its memory, unless a person has told glibc how to allocate."""
    if _glibc() and not _told():
        for parameter, value in KEPT:
            ctypes.CDLL(None).mallopt(parameter, value)


def huge_pages() -> dict[str, str]:
    """Return what the environment of a process that trains on CPUs needs, for huge pages.

    It is empty if a person has told glibc how to allocate, if glibc is older than 2.35, or if the
    kernel does not leave huge pages to those that ask for them.
    """
    with suppress(OSError):
        asked = "[madvise]" in KERNEL.read_text()
        if asked and _glibc() >= (2, 35) and not _told() and TUNABLES not in os.environ:
            return {TUNABLES: HUGE}
    return {}


def restart_with_huge_pages(program: str) -> None:
    """Run this program again from its start, in the same process, if that brings huge pages.

    The programs that it starts decide for themselves. Another program that calls it goes on: it may
    have done what must not be done twice.

    Args:
        program: its name: of the module after `python -m`, or of the script's file.
    """
    here = str(os.getpid())
    begun, _, name = os.environ.pop(AGAIN, "").partition(" ")
    with suppress(OSError):
        if begun == here:  # whatever has become of the variable on the way
            os.environ.pop(TUNABLES, None)
            NAME.write_text(name)
        elif (needed := huge_pages()) and sys.executable and runs_as(program):
            environment = os.environ | needed | {AGAIN: f"{here} {NAME.read_text().strip()}"}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def runs_as(program: str) -> bool:
    """Return whether Python was told to run this program, and not one that calls it.

    What calls it may be a script around it, a debugger or a child of `multiprocessing`. A debugger
    sets `__main__` as Python does, but not `sys.orig_argv`.
    """
    try:
        options, words = getopt(sys.orig_argv[1:], OPTIONS, ["check-hash-based-pycs="])
    except GetoptError:  # such as -mpdb, or an option of a newer Python
        return False
    if not words or words[1:] != sys.argv[1:]:
        return False
    given = dict(options)
    target = words[0] if "-m" in given else Path(words[0]).name
    return target == program and "-c" not in given


def _glibc() -> tuple[int, ...]:
    """Return the version of glibc; empty for another C library."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return tuple(map(int, version.split("."))) if name == "glibc" else ()
    except (AttributeError, OSError, ValueError):  # not of glibc, or not of Unix
        return ()


def _told() -> bool:
    tunables = os.environ.get(TUNABLES, "")
    if "glibc.malloc" in tunables and tunables != HUGE:
        return True
    return any("MALLOC_" in name for name in os.environ)
