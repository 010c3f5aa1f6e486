"""Find the run directories of a folder."""

import os
from pathlib import Path

from jbatch.errors import Mistake


def runs_below(folder: Path) -> list[Path]:
    """Return the run directories at and below a folder; raise Mistake if there are none."""
    found = any_below(folder)
    if not found:
        what = "holds no run" if folder.is_dir() else "is no folder"
        raise Mistake(f"{folder} {what}: give a run directory or a folder of them")
    return found


def any_below(folder: Path) -> list[Path]:
    """Return the run directories at and below a folder, sorted, also behind links, each once."""
    found, seen = [], set()
    for path, folders, files in os.walk(folder, followlinks=True):
        if (itself := os.path.realpath(path)) in seen:
            folders.clear()  # a link to what was looked through, perhaps to a folder around it
            continue
        seen.add(itself)
        folders.sort()
        if "run.json" in files:
            found.append(Path(path))
    return found
