"""Tell glibc to keep the memory that XLA frees.

XLA's CPU client allocates the arrays of each update anew. By default glibc returns large ones to
the system at once, so that each page of each update is a page fault.
"""

import ctypes
import os
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # glibc's malloc.h
KEPT = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 64 << 20))


def keep_memory() -> None:
    """Let this process keep its memory, unless a person has told glibc how to allocate."""
    told = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if platform.libc_ver()[0] != "glibc" or told or any("MALLOC_" in name for name in os.environ):
        return
    for parameter, value in KEPT:
        ctypes.CDLL(None).mallopt(parameter, value)
