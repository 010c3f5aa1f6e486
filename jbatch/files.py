"""Writing files."""

import errno
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from jbatch.errors import Mistake

MOST_READ = 1 << 30  # bytes of a file that is read as a whole

SECONDS_TO_APPEAR = 60  # of a file on another host: network file systems look again that often


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, so that a reader finds all of it, or what was there before.

    Also after a power cut: file and folder are on disk when this returns.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # left by a kill, or a link to something else
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(path: Path) -> None:
    """See that the names in a folder are on disk, where its file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def read_whole(path: Path, most: int = MOST_READ) -> bytes:
    """What is in an ordinary file.

    Args:
        path: of the file.
        most: bytes.

    Raises:
        OSError: if it cannot be read, is none, or is larger.
    """
    with open_ordinary(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"Over {most:,} bytes", str(path))
    return content


def open_ordinary(path: Path) -> BinaryIO:
    """An ordinary file, to be read; OSError if it is none.

    Opening a FIFO would wait for ever, and reading a device may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "Not an ordinary file", str(path))


def not_files(folder: Path) -> Path | None:
    """Something below a folder that is no file and no folder, which a reader might wait for."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):  # a trainer may remove what is read
                if not stat.S_ISREG(path.lstat().st_mode):
                    return path
    return None


def expanded(path: Path) -> Path:
    """With ~ or ~name as that home; Mistake if there is none."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise Mistake(f"{path}: there is no such home; give another path") from error


def cache_folder(name: str) -> Path:
    """Where this person's programs keep what they can make again, for all runs."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user of no home, as of a container's --user
        home = Path(tempfile.gettempdir()) / f"jbatch-{os.getuid()}"
    return home / "jbatch" / name


def appears(path: Path) -> bool:
    """Whether what another process has made is seen by this one, soon or now."""
    until = time.monotonic() + SECONDS_TO_APPEAR
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
