"""Reading JSON that a run has written, whatever became of it since."""

from pathlib import Path
from typing import Any

import msgspec

from jbatch.errors import Mistake
from jbatch.files import read_whole


def read_json(path: Path, kind: Any, advice: str = "restore or remove that file") -> Any:
    """The value in a file, as plain dicts, lists and numbers, with what `kind` says it has.

    Raises:
        Mistake: if it cannot be read, or is something else.
    """
    return _decoded(_read(path, advice), kind, str(path), advice)


def read_json_lines(path: Path, kind: Any) -> list[dict]:
    """The lines of a file, each of a `kind`; none if it does not exist.

    A last line without its end was being written when the run died, and is left out.

    Raises:
        Mistake: for a file that cannot be read, or a line within it that is something else.
    """
    advice = "restore or remove that file"
    if not path.exists() and not path.is_symlink():
        return []
    *whole, _ = _read(path, advice).split(b"\n")
    return [
        _decoded(text, kind, f"{path} line {number}", advice)
        for number, text in enumerate(whole, 1)
    ]


def _read(path: Path, advice: str) -> bytes:
    try:
        return read_whole(path)
    except OSError as error:
        raise Mistake(f"{path} cannot be read ({error.strerror}): {advice}") from error


def _decoded(text: bytes, kind: Any, where: str, advice: str) -> Any:
    try:
        value = msgspec.json.decode(text)
        # Left out is what `kind` does not name: a later version may have written it.
        msgspec.convert(value, kind)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Mistake(f"{where} is damaged ({error}): {advice}") from error
    return value
