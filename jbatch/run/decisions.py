"""plan.jsonl: what an adaptive run has decided on its batch size, a line for each decision."""

import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.json_lines import read_json_lines
from jbatch.plan.decided import Growths
from jbatch.run.metrics import Count
from jbatch.testing import point
from jbatch.text import text_table

FILE = "plan.jsonl"
Size = Annotated[int, Meta(ge=1, lt=2**53)]


class Line(Struct):
    """A decision, before its `update`."""

    update: Count  # taken so far
    examples: Count  # seen so far
    batch_size: Size  # of the update before
    next_batch_size: Size
    why: str


class DecisionLog:
    """Appends decisions to plan.jsonl."""

    def __init__(self, directory: Path, examples: int, sizes: Growths):
        """Open it, and remove decisions after so many examples, which will be made again.

        Args:
            directory: of the run.
            examples: seen at the state that the run resumes from.
            sizes: decided before it, from 0 examples on. If the file says something else, it is
                written anew.
        """
        self._path = directory / FILE
        lines = [line for line in read_decisions(directory) if line["examples"] <= examples]
        if _growths(lines) != sizes[1:]:
            lines = [
                {
                    "update": 0,  # it is no longer known
                    "examples": start,
                    "batch_size": before,
                    "next_batch_size": size,
                    "why": "as the checkpoint says",
                }
                for (_, before), (start, size) in itertools.pairwise(sizes)
            ]
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = self._path.open("a")

    def write(self, line: dict[str, Any]) -> None:
        """Append a decision; it is on disk when this returns.

        Raises:
            Mistake: if the file was removed.
        """
        if not os.fstat(self._file.fileno()).st_nlink:
            raise Mistake(
                f"{self._path} was removed while its run trained: restore it, or start in another "
                "run directory"
            )
        self._file.write(point("decision", json.dumps(line, allow_nan=False)) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it; every line is on disk."""
        self._file.close()


def read_decisions(directory: Path) -> list[dict[str, Any]]:
    """Return the decisions of a run, [] if it has made none.

    Raises:
        Mistake: if the file is damaged.
    """
    return read_json_lines(directory / FILE, Line)


def _growths(lines: Sequence[dict[str, Any]]) -> Growths:
    return tuple(
        (line["examples"], line["next_batch_size"])
        for line in lines
        if line["next_batch_size"] != line["batch_size"]
    )


def decisions_text(lines: Sequence[dict[str, Any]]) -> str:
    """Format the growths among decisions as a table."""
    rows = [
        (
            f"{line['update']:,}",
            f"{line['examples']:,}",
            f"{line['batch_size']:,}",
            f"{line['next_batch_size']:,}",
            line["why"],
        )
        for line in lines
        if line["next_batch_size"] != line["batch_size"]
    ]
    count = f"{len(lines):,} decision{'s' * (len(lines) != 1)}, {len(rows):,} to grow"
    if not rows:
        return f"{count}.\n"
    table = text_table(("after update", "examples", "batch", "next", "because"), rows)
    return f"{count}:\n\n{table}\n"
