"""That a run directory is one trainer's: its lock, by a file and by the folder itself; no links."""

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from jbatch.distributed import agree
from jbatch.distributed.preemption import Interrupted
from jbatch.errors import Mistake

LEASE_SECONDS = 100  # in which a network file system gives back the locks of a machine that is gone


@contextmanager
def locked(directory: Path, asked: Callable[[], str | None]) -> Iterator[Callable[[], None]]:
    """Hold the directory's lock, which the system takes back however this process ends.

    Gives a function that sees whether it is held still.
    """
    with ExitStack() as stack:
        try:  # a link would be to something else
            descriptor = os.open(
                directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
            )
            file = stack.enter_context(open(descriptor, "r+"))
            folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
        except OSError as error:
            raise Mistake(
                f"cannot write to {directory / 'lock'}: {error.strerror or error}; remove it, or "
                "give another run directory"
            ) from error
        try:
            holder = _take(file, asked)
        except OSError as error:
            raise Mistake(
                f"{directory} cannot be locked ({error.strerror}), so that two trainers could "
                "write to it: give one on a file system with locks"
            ) from error
        if holder is None and (alone := _take_folder(folder)) is False:
            holder = "another process, whose lock file was removed"
        if holder:
            raise Mistake(
                f"{directory} is in use by {holder}: wait for it, stop it, or give another run "
                "directory"
            )
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {platform.node()}\n{_machine()}\n")
        file.flush()
        yield partial(_check_held, directory, folder, None if alone else file)


def _take_folder(folder: int) -> bool | None:
    """Take the folder's own lock, since the file can be removed; None where only files have one."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # of network file systems
        return None
    return True


def _check_held(directory: Path, folder: int, file: TextIO | None) -> None:
    """See that the directory, and its lock if that alone is held, are those that were opened.

    Raises:
        Mistake: if not.
    """
    opened = {directory: folder} | ({directory / "lock": file.fileno()} if file else {})
    for path, descriptor in opened.items():
        try:
            same = os.path.samestat(path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            same = False
        if not same:
            raise Mistake(
                f"{path} was removed, renamed or replaced while its run trained: nothing more is "
                "written to it; put it back, or give the run directory's new name, and the same "
                "command goes on from the last checkpoint in it"
            )


def _take(file: TextIO, asked: Callable[[], str | None]) -> str | None:
    """Take a lock; who holds it if it cannot be had.

    That of another machine, which may have vanished, is waited for: a network file system gives it
    back when the machine's lease ends.
    """
    until = None
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder, _, machine = file.read().strip().partition("\n")
        if until is None:
            until = time.monotonic() + LEASE_SECONDS
            if machine != _machine():
                agree.say(f"waits for the lock of {holder}, for {LEASE_SECONDS} s at most")
        if machine == _machine() or time.monotonic() > until:
            return holder or "another process"
        if name := asked():
            raise Interrupted(f"{name} while it waited: the same command begins again")
        time.sleep(0.2)


def _machine() -> str:
    """Of this start of the kernel: names of hosts come again on other machines."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else platform.node()


def refuse_links(directory: Path) -> None:
    """See that nothing that a run writes to or removes leads out of its directory."""
    folders = [directory / name for name in ("checkpoints", "damaged", "tensorboard", "profile")]
    inside = (path for folder in folders[:2] if folder.is_dir() for path in folder.iterdir())
    for path in folders:
        if path.exists() and not path.is_dir():
            raise Mistake(f"{path} is no folder: remove it, or give another run directory")
    for path in (*folders, *inside):
        if path.is_symlink():
            raise Mistake(
                f"{path} is a link, and what is below it would be written or removed: remove the "
                "link, or let the run directory itself be one"
            )
