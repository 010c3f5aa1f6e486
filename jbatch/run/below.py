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
    """Return the run directories at and below a folder, sorted, also behind links, each once.

    A link to a folder around it leads nowhere.
    """
    found, seen = [], set(map(str, Path(os.path.realpath(folder)).parents))
    for path, folders, files in os.walk(folder, followlinks=True):
        if (itself := os.path.realpath(path)) in seen:
            folders.clear()
            continue
        seen.add(itself)
        folders.sort()
        if "run.json" in files:
            found.append(Path(path))
    return found
