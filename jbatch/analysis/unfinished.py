"""What a probe keeps until it is done, so that it goes on where it stopped.

DIR/probe/unfinished/ holds the checkpoints that it branches from, as a run that is still training
removes its old ones, and a line of JSON for each finished branch.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.json_lines import read_json_lines
from jbatch.plan.branch import Window
from jbatch.plan.critical import Branch
from jbatch.run.lock import locked


def folder_of(directory: Path) -> Path:
    """Return where a probe of the run in a directory keeps what is not finished."""
    return directory / "probe" / "unfinished"


class Key(NamedTuple):
    """What decides how a branch comes out."""

    plan: str  # digest of the run's
    window: Window
    multiple: int
    seed: int


class _Line(Struct):
    """A finished branch; a loss that is not finite is null."""

    plan: str
    window: list[int]
    multiple: int
    seed: int
    batch_size: int
    updates: int
    learning_rate: float
    losses: list[float | None]
    weights: list[float]
    noise_scale: float | None
    seconds: float


class Unfinished:
    """The folder of a probe that is not done, which this process has locked."""

    def __init__(self, directory: Path):
        """Open it; `directory` is that of the run."""
        self.folder = folder_of(directory)
        self.checkpoints = self.folder / "checkpoints"
        self._run, self._path = directory, self.folder / "branches.jsonl"
        self._lines = read_json_lines(self._path, _Line)

    def keep_checkpoint(self, examples: int) -> None:
        """Keep a checkpoint of the run, by links where the file system has them.

        Raises:
            Mistake: if the run removes it meanwhile.
        """
        source, name = self._run / "checkpoints" / str(examples), str(examples)
        if (self.checkpoints / name).exists():
            return
        half = self.checkpoints / f"{name}.tmp"
        shutil.rmtree(half, ignore_errors=True)
        try:
            shutil.copytree(source, half, copy_function=_linked)
            gone = _files(source) != _files(half)
        except (FileNotFoundError, shutil.Error):
            gone = True
        if gone:
            shutil.rmtree(half, ignore_errors=True)
            raise Mistake(
                f"the run in {self._run} removed its checkpoint of {examples:,} examples while "
                "jbatch read it: give places of checkpoints that it keeps (--keep-every), or wait "
                "until it has finished"
            )
        half.rename(self.checkpoints / name)

    def branch(self, key: Key) -> tuple[Branch, float] | None:
        """Return a finished branch and its seconds; None if it is still to be trained."""
        for line in self._lines:
            window = Window(*line["window"])
            if key == (line["plan"], window, line["multiple"], line["seed"]):
                return _branch(line), line["seconds"]
        return None

    def add(self, key: Key, branch: Branch, seconds: float) -> None:
        """Keep a finished branch; it is on disk when this returns."""
        values = key._asdict() | branch._asdict() | {"seconds": seconds}
        values["losses"] = [loss if math.isfinite(loss) else None for loss in branch.losses]
        self._lines.append(values)
        self._write()

    def _write(self) -> None:
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self._lines)
        write_whole(self._path, text)

    def remove(self) -> None:
        """Remove it, because the probe is done."""
        shutil.rmtree(self.folder)


@contextmanager
def unfinished(directory: Path) -> Iterator[Unfinished]:
    """Open what an earlier probe of a run has left, or begin; lock it against other probes."""
    folder = folder_of(directory)
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(
            f"cannot write to {folder}: {error.strerror}. A probe writes its results beside the "
            "run: give a copy of it that is yours"
        ) from error
    with locked(folder, asked=lambda: None):
        yield Unfinished(directory)


def _branch(line: dict[str, Any]) -> Branch:
    values = {name: line[name] for name in Branch._fields}
    losses = (math.nan if loss is None else loss for loss in line["losses"])
    return Branch(**values | {"losses": tuple(losses), "weights": tuple(line["weights"])})


def _linked(source: str, target: str) -> None:
    """Link a file, or copy it where a link is not allowed."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}
