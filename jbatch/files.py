"""Writing files."""

import os
import time
from pathlib import Path

SECONDS_TO_APPEAR = 60  # of a file on another host: network file systems look again that often


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, so that a reader finds all of it, or what was there before."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # left by a kill, or a link to something else
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def cache_folder(name: str) -> Path:
    """Where this person's programs keep what they can make again, for all runs."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "jbatch" / name


def appears(path: Path) -> bool:
    """Whether what another process has made is seen by this one, soon or now."""
    until = time.monotonic() + SECONDS_TO_APPEAR
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
