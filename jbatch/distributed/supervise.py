"""A process that watches over the trainer of a cluster, and says how it ended.

When a process of a cluster is lost, JAX's distributed runtime ends the others by abort(), which no
code in them can catch; so the exit code that asks a launcher to start again comes from here.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from jbatch.distributed import preemption
from jbatch.distributed.preemption import Interrupted, NothingSaved
from jbatch.messages import tell

FAULTS = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"}  # that would come again
MARK = "JBATCH_SUPERVISED"  # an environment variable of the process that is watched


def supervised() -> bool:
    """Whether this process is the one that is watched."""
    return MARK in os.environ


def run(member: str, arguments: Sequence[str]) -> int:
    """Run a trainer in another process; its exit code.

    Args:
        member: the module that is its program, given this process's number and the arguments.
        arguments: of `jbatch`.

    Raises:
        Stopped: if it was ended from without, or with the others.
    """
    asked, child, turn = 0, None, threading.Lock()

    def forward(number: int) -> None:
        nonlocal asked
        with turn:
            asked += 1
            if child is None:
                return
            if asked == 1:  # JAX's handler is there for the first one only
                child.send_signal(signal.SIGTERM)
            elif number == signal.SIGINT:
                child.kill()

    with preemption.acting(forward):
        with turn:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", member, str(os.getpid()), *arguments],
                env=os.environ | {MARK: "1"},
                start_new_session=True,  # a signal to all reaches it once, through here
            )
            if asked:
                child.send_signal(signal.SIGTERM)
        code = child.wait()
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    if name in FAULTS:
        tell(
            f"jbatch: the trainer was ended by {name}, a fault in a program that would likely come "
            "again: see what it says above (a driver, jaxlib?), then give the same command, which "
            "goes on from the last checkpoint"
        )
        return 128 - code
    if asked and (asked > 1 or name == "SIGTERM"):
        why = "a second Ctrl-C" if asked > 1 else "SIGTERM before training began"
        if preemption.something_saved():
            raise Interrupted(f"{why}: the same command goes on from the last save")
        raise NothingSaved(f"{why}, and nothing was saved: the same command begins again")
    if name == "SIGABRT":
        raise Interrupted(
            "the trainer was ended by JAX's distributed runtime, as it says above: another process "
            "was lost, did not come, or ended with a mistake of its own. Unless one says so, start "
            "all again, and they go on from the last checkpoint"
        )
    raise Interrupted(
        f"the trainer was ended by {name}{', as when memory runs out' * (name == 'SIGKILL')}: "
        "start all again, and they go on from the last checkpoint"
    )
