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
from pathlib import Path

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # glibc's malloc.h
KEPT = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 64 << 20))
TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
AGAIN = "JBATCH_STARTED_AGAIN"  # environment variable: the id of the process that has
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


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


def restart_with_huge_pages() -> None:
    """Run this program again from its start, in the same process, if that brings huge pages.

    The programs that it starts decide for themselves.
    """
    here = str(os.getpid())
    if os.environ.pop(AGAIN, "") == here:  # whatever has become of the variable on the way
        os.environ.pop(TUNABLES, None)
    elif (needed := huge_pages()) and sys.executable:
        environment = os.environ | needed | {AGAIN: here}
        with suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


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
