"""Whether code that lies in a run directory was put there by the person who would run it.

An experiment file is Python. The copy in a run directory carries a seal that only this person's key
can make, so a directory that came from somewhere else does not run by being looked at.
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
    """HMAC-SHA-256 of the code by this person's key; None, and a word, where none can be kept."""
    key = _key(make=True)
    return None if key is None else _seal(key, code)


@cache
def _say_once(why: str) -> None:
    tell(
        f"jbatch: warning: no key can be kept by which runs are known as yours ({why}): eval and "
        "report of them ask for --trust; XDG_STATE_HOME says where else to keep it"
    )


def sealed(code: str, by: str | None) -> bool:
    """Whether this person made the seal `by` for just this code."""
    key = _key(make=False)
    return None not in (key, by) and hmac.compare_digest(_seal(key, code).encode(), by.encode())


def _seal(key: bytes, code: str) -> str:
    return hmac.new(key, code.encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """The key, made if it is wanted; None where there is none and none can be made.

    Raises:
        Mistake: for one that is damaged, or that others could have written.
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
        _say_once("there is no home")
        return None
    if len(key) != LENGTH or state.st_mode & 0o022 or state.st_uid not in (0, os.getuid()):
        raise Mistake(
            f"{path}, by which your run directories are known as yours, is damaged or could have "
            "been written by others: remove it; --trust runs what it has sealed"
        )
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"key.{os.getpid()}")
    try:
        made.unlink(missing_ok=True)  # of a process of that number that was killed
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
