"""Check that the code in a run directory was saved by the user who would run it.

An experiment file is Python. jbatch seals the copy in a run directory with the user's key, so
reading a directory from someone else does not run its code.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.files import open_ordinary
from jbatch.messages import tell

LENGTH = 32  # bytes of the key


def seal(code: str) -> str | None:
    """Return the HMAC-SHA-256 of the code with the user's key; None and a warning without a key."""
    key = _key(make=True)
    return None if key is None else _seal(key, code)


@cache
def _say_once(why: str) -> None:
    tell(
        f"jbatch: warning: cannot save the key that marks runs as yours ({why}). eval and report "
        "will ask for --trust. To save the key elsewhere, set XDG_STATE_HOME"
    )


def sealed(code: str, by: str | None) -> bool:
    """Return whether `by` is the user's seal of exactly this code."""
    key = _key(make=False)
    if key is None or by is None:
        return False
    return hmac.compare_digest(_seal(key, code).encode(), by.encode())


def _seal(key: bytes, code: str) -> str:
    return hmac.new(key, code.encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """Return the key, or None without one; `make` creates a missing key if that is possible.

    Raises:
        Mistake: if the key is damaged, or other users could have written it.
    """
    try:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        path = home / "jbatch" / "key"
        if make and not path.exists():
            _make(path)
        with open_ordinary(path) as file:
            state, key = os.fstat(file.fileno()), file.read(LENGTH + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        _say_once(f"{path}: {error.strerror}")
        return None
    except RuntimeError:
        _say_once("there is no home directory")
        return None
    if len(key) != LENGTH or state.st_mode & 0o022 or state.st_uid not in (0, os.getuid()):
        raise Mistake(
            f"{path}, the key that marks runs as yours, is damaged or writable by other users. "
            "Remove it, and pass --trust for the runs that it sealed"
        )
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"key.{os.getpid()}")
    try:
        made.unlink(missing_ok=True)  # left by a killed process with the same id
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # the first of several processes wins
            os.link(made, path)
    finally:
        with suppress(OSError):
            made.unlink()
