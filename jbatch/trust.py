"""Whether code that lies in a run directory was put there by the person who would run it.

An experiment file is Python. The copy in a run directory carries a seal that only this person's key
can make, so a directory that came from somewhere else does not run by being looked at.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path


def seal(code: str) -> str | None:
    """HMAC-SHA-256 of the code by this person's key; None where no key can be kept."""
    key = _key(make=True)
    return None if key is None else _seal(key, code)


def sealed(code: str, by: str | None) -> bool:
    """Whether this person made the seal `by` for just this code."""
    key = _key(make=False)
    return None not in (key, by) and hmac.compare_digest(_seal(key, code).encode(), by.encode())


def _seal(key: bytes, code: str) -> str:
    return hmac.new(key, code.encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    try:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        path = home / "jbatch" / "key"
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = path.with_name(f"key.{os.getpid()}")
            made.touch(0o600)
            made.write_bytes(secrets.token_bytes(32))
            with suppress(FileExistsError):  # the first of several processes wins
                os.link(made, path)
            made.unlink()
        return path.read_bytes()
    except (OSError, RuntimeError):  # the latter where there is no home
        return None
