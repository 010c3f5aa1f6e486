"""Lock a run directory, by a file and by the folder itself, and refuse links in it."""

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

LEASE_SECONDS = 100  # a network file system releases the locks of a lost machine within this


@contextmanager
def locked(directory: Path, asked: Callable[[], str | None]) -> Iterator[Callable[[], None]]:
    """Hold the directory's lock; the system releases it however this process ends.

    Yields:
        A function that raises Mistake if the lock is no longer held.
    """
    with ExitStack() as stack:
        try:  # O_NOFOLLOW: a link could point to any file
            descriptor = os.open(
                directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
            )
            file = stack.enter_context(open(descriptor, "r+"))
            folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
        except OSError as error:
            raise Mistake(
                f"cannot write to {directory / 'lock'}: {error.strerror or error}. Remove it, or "
                "give another run directory"
            ) from error
        try:
            holder = _take(file, asked)
        except OSError as error:
            raise Mistake(
                f"cannot lock {directory} ({error.strerror}), so two trainers could write to it: "
                "give a run directory on a file system with locks"
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
    """Lock the folder, because its lock file can be removed; None if folders have no locks."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # of network file systems
        return None
    return True


def _check_held(directory: Path, folder: int, file: TextIO | None) -> None:
    """Check that the directory, and the lock file if given, are still the ones that were opened.

    Raises:
        Mistake: if one was removed, renamed or replaced.
    """
    opened = {directory: folder} | ({directory / "lock": file.fileno()} if file else {})
    for path, descriptor in opened.items():
        try:
            same = os.path.samestat(path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            same = False
        if not same:
            raise Mistake(
                f"{path} was removed, renamed or replaced while its run trained. jbatch writes "
                "nothing more to it. Put it back, or give the run directory's new name, then run "
                "the same command to resume from its last checkpoint"
            )


def _take(file: TextIO, asked: Callable[[], str | None]) -> str | None:
    """Take a lock, and return None; if another process holds it, return that process's name.

    If the holder is on another machine, wait: the machine may be lost, and a network file system
    then releases its lock when the machine's lease ends.
    """
    until = None
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            file.seek(0)
            holder, _, machine = file.read().strip().partition("\n")
        if until is None:
            until = time.monotonic() + LEASE_SECONDS
            if machine != _machine():
                agree.say(f"waiting up to {LEASE_SECONDS} s for the lock of {holder}")
        if machine == _machine() or time.monotonic() > until:
            return holder or "another process"
        if name := asked():
            raise Interrupted(
                f"{name} while waiting for the lock. Run the same command to start again"
            )
        time.sleep(0.2)


def _machine() -> str:
    """Return an id of this start of the kernel, because two machines may share a host name."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else platform.node()


# That a run writes to; it also removes what is in the first three.
FOLDERS = (
    "checkpoints",
    "damaged",
    "best",
    "tensorboard",
    "profile",
    "code",
    "probe",
    "probe/unfinished",
)


def refuse_links(directory: Path) -> None:
    """Raise Mistake if a folder that a run writes to or removes is a link or not a folder."""
    folders = [directory / name for name in FOLDERS]
    inside = (path for folder in folders[:3] if folder.is_dir() for path in folder.iterdir())
    for path in folders:
        if path.exists() and not path.is_dir():
            raise Mistake(f"{path} is not a folder: remove it, or give another run directory")
    for path in (*folders, *inside):
        if path.is_symlink():
            raise Mistake(
                f"{path} is a link, so the run would write or remove files elsewhere: remove the "
                "link, or make the run directory itself a link"
            )
