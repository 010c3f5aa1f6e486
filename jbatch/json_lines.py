"""Reading JSON that a run wrote, which may have been damaged since."""

from pathlib import Path
from typing import Any

import msgspec

from jbatch.errors import Mistake
from jbatch.files import read_whole


def read_json(path: Path, kind: Any, advice: str = "restore or remove that file") -> Any:
    """Read a JSON file as plain dicts, lists and numbers, and check it against the type `kind`.

    Raises:
        Mistake: if it cannot be read, or does not match `kind`.
    """
    return _decoded(_read(path, advice), kind, str(path), advice)


def read_json_lines(path: Path, kind: Any) -> list[dict[str, Any]]:
    """Read a file of JSON lines, each checked against the type `kind`; [] if there is no file.

    A last line without a line break is dropped: the run died while it wrote this line.

    Raises:
        Mistake: if the file cannot be read, or a line does not match `kind`.
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
        # Ignores fields that `kind` does not name: a later version may have written them.
        msgspec.convert(value, kind)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Mistake(f"{where} is damaged ({error}): {advice}") from error
    return value
