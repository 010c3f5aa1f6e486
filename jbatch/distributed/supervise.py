"""Run the trainer of a cluster in a child process, and report how it ended.

When a process of a cluster is lost, JAX's distributed runtime ends the others by abort(). Code in
those processes cannot catch that. So this process gives the exit code that makes a launcher restart
the run.
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

FAULTS = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"}  # a restart would likely fail again
MARK = "JBATCH_SUPERVISED"  # environment variable of the child process


def supervised() -> bool:
    """Return whether this process is the supervised child."""
    return MARK in os.environ


def run(member: str, arguments: Sequence[str]) -> int:
    """Run a trainer in a child process, and return its exit code.

    Args:
        member: the module to run; its arguments are this process's id, then `arguments`.
        arguments: of `jbatch`.

    Raises:
        Stopped: if a signal ended it, or JAX ended it because another process was lost.
    """
    asked, child, turn = 0, None, threading.Lock()

    def forward(number: int) -> None:
        nonlocal asked
        with turn:
            asked += 1
            if child is None:
                return
            if asked == 1:  # JAX handles only the first SIGTERM
                child.send_signal(signal.SIGTERM)
            elif number == signal.SIGINT:
                child.kill()

    with preemption.acting(forward):
        with turn:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", member, str(os.getpid()), *arguments],
                env=os.environ | {MARK: "1"},
                start_new_session=True,  # so that Ctrl-C reaches it only through here
            )
            if asked:
                child.send_signal(signal.SIGTERM)
        code = child.wait()
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    if name in FAULTS:
        tell(
            f"jbatch: {name} ended the trainer. This is a program fault, so a restart would likely "
            "fail again. Check its messages above (a driver, jaxlib?), then run the same command "
            "to resume from the last checkpoint"
        )
        return 128 - code
    if asked and (asked > 1 or name == "SIGTERM"):
        why = "a second Ctrl-C" if asked > 1 else "SIGTERM before training began"
        if preemption.something_saved():
            raise Interrupted(f"{why}. Run the same command to resume from the last checkpoint")
        raise NothingSaved(f"{why}: nothing was saved. Run the same command to start again")
    if name == "SIGABRT":
        raise Interrupted(
            "JAX's distributed runtime ended the trainer (see its message above), because another "
            "process was lost, did not start, or stopped with an error. If a process reports an "
            "error, fix it. Restart all processes: they resume from the last checkpoint"
        )
    raise Interrupted(
        f"{name} ended the trainer{' (memory may have run out)' * (name == 'SIGKILL')}. Restart "
        "all processes: they resume from the last checkpoint"
    )
