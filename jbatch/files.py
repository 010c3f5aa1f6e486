"""Reading and writing files safely."""

import errno
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from jbatch.errors import Mistake

MOST_READ = 1 << 30  # bytes, largest file that is read in one piece

SECONDS_TO_APPEAR = 60  # for another host's file: network file systems cache names that long


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically, text as UTF-8: a reader sees the whole new file, or the old one.

    This holds after a power cut too. File and folder are on disk when this returns.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # from a killed process, or a link to another file
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
    """Flush the names in a folder to disk, if its file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def read_whole(path: Path, most: int = MOST_READ) -> bytes:
    """Read an ordinary file.

    Args:
        path: of the file.
        most: largest allowed size in bytes.

    Raises:
        OSError: if it cannot be read, is no ordinary file, or is larger.
    """
    with open_ordinary(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, most) + 1)  # Python allocates as much as it is asked for
        if len(content) > size:  # it grew, or is of a kind that has no size
            content += file.read(most - size)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"Over {most:,} bytes", str(path))
    return content


def open_ordinary(path: Path) -> BinaryIO:
    """Open an ordinary file for reading.

    Other kinds are refused: opening a FIFO can wait forever, and reading a device may never end.

    Raises:
        OSError: if it cannot be opened, or is no ordinary file.
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
    """Find a path below a folder that is no file or folder; a reader might wait for it forever."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):  # a trainer may remove files meanwhile
                if not stat.S_ISREG(path.lstat().st_mode):
                    return path
    return None


def has_folder(path: Path) -> None:
    """Raise Mistake if the folder of a file that is to be written does not exist."""
    if not path.parent.is_dir():
        raise Mistake(f"there is no folder {path.parent}: create it, or give another path")


def expanded(path: Path) -> Path:
    """Replace ~ or ~name by that home directory.

    Raises:
        Mistake: if there is no such home.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise Mistake(
            f"{path} names a home directory that does not exist: give another path"
        ) from error


def cache_folder(name: str) -> Path:
    """Return this user's cache folder `name`, shared by all runs; you may delete it any time."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home, as with a container's --user
        home = Path(tempfile.gettempdir()) / f"jbatch-{os.getuid()}"
    return home / "jbatch" / name


def appears(path: Path) -> bool:
    """Wait up to SECONDS_TO_APPEAR for another process's file; tell whether it is visible."""
    until = time.monotonic() + SECONDS_TO_APPEAR
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
