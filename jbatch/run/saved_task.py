"""The task of a run, saved beside its checkpoints, so that a model can be loaded without its file.

It is a pickle, which is code: like the experiment file, it is sealed with the user's key.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any, NamedTuple

from jbatch.by_value import pickled
from jbatch.errors import Mistake, said
from jbatch.files import read_whole
from jbatch.task.base import Learner

NAME = "task.pkl"


class SavedTask(NamedTuple):
    """What turns a run's checkpoint into a model."""

    learner: Learner
    class_names: tuple[str, ...] | None
    data: Any = None  # a dataset that is named, not held: one of `Named`


def dumped(saved: SavedTask) -> bytes | None:
    """Return the pickle; None if a value of the task cannot be pickled."""
    try:
        return pickled(saved)
    except Exception:  # of a person's own value; any error
        return None


def read(path: Path) -> bytes:
    """Return the pickle's bytes; raise Mistake if they cannot be read."""
    try:
        return read_whole(path)
    except OSError as error:
        raise Mistake(
            f"cannot read {path} ({error.strerror}): give a run directory of this version of jbatch"
        ) from error


def loaded(content: bytes, path: Path) -> SavedTask:
    """Run the pickle, which is trusted; `path` names it in messages.

    Raises:
        Mistake: if it is damaged, or of other versions of Python or a library.
    """
    try:
        saved = pickle.loads(content)
    except Exception as error:  # of another version, any error
        raise Mistake(
            f"cannot load {path} ({type(error).__name__}: {said(error)}): use the versions of "
            "Python and of the libraries that trained the run (they are in its run.json)"
        ) from error
    if not isinstance(saved, SavedTask):
        raise Mistake(f"{path} is not a run's task: restore it")
    return saved


def sealed(content: bytes) -> str:
    """Return what stands for the pickle in a seal."""
    return f"{NAME} {hashlib.sha256(content).hexdigest()}"
