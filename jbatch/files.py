"""Writing files."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader finds all of it, or what was there before."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
