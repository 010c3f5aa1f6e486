"""Processes that others started, and whether they are gone."""

import re
import subprocess
import time
from pathlib import Path


def children(pid: int, of: str = "") -> set[int]:
    """Processes that process `pid` has started, whose command has `of` in it."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return {int(line.split()[0]) for line in lines if of in line}


def python_children(pid: int) -> set[int]:
    """Processes that Python's multiprocessing started in process `pid`."""
    return children(pid, "multiprocessing.spawn")


def shared_memory(pid: int) -> set[Path]:
    """Files of shared memory that a process has open and that have a name."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[-1]) for line in maps if re.search(r"/dev/shm/\S+$", line)}


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def left_over(pids: set[int]) -> set[int]:
    """Those that still run after so long as watchdogs and stops take on a busy machine."""
    until = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    return {pid for pid in pids if alive(pid)}
