"""Files of JSON lines, of which a kill may have left the last one unfinished."""

import json
from pathlib import Path

from jbatch.errors import Mistake


def read_json_lines(path: Path) -> list[dict]:
    """The lines of a file; none if it does not exist.

    A last line without its end was being written when the run died, and is left out.

    Raises:
        Mistake: for a line within the file that is no JSON object.
    """
    if not path.exists():
        return []
    try:
        *whole, _ = path.read_text().split("\n")
    except UnicodeDecodeError as error:
        raise Mistake(f"{path} is damaged ({error}): restore or remove that file") from error
    lines = []
    for number, text in enumerate(whole, 1):
        try:
            lines.append(dict(json.loads(text)))
        except (ValueError, TypeError) as error:
            raise Mistake(
                f"{path} line {number} is damaged ({error}): restore or remove that file"
            ) from error
    return lines
