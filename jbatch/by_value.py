"""Pickle values whose classes and functions may be a person's own."""

import os
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

_LOCK = threading.Lock()  # modules are registered for the whole process
LIBRARY = Path(sysconfig.get_path("stdlib"))
INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def pickled(value: Any) -> bytes:
    """Pickle a value; a person's own classes and functions are saved whole, not by name.

    So a process that cannot import their modules can load it, with `pickle.loads`.
    """
    with _LOCK, _by_value():
        made: bytes = cloudpickle.dumps(value)
    return made


@contextmanager
def _by_value() -> Iterator[None]:
    places = [sys.modules.get(name) for name in ("__main__", "<experiment>")]
    files = [file for module in places if (file := getattr(module, "__file__", None))]
    folders = {Path.cwd(), *(Path(file).absolute().parent for file in files)}
    own = [module for module in list(sys.modules.values()) if _own(module, folders)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _own(module: ModuleType, folders: set[Path]) -> bool:
    """Return whether a module is the person's own: below their folders, and not installed there."""
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] == "jbatch":
        return False
    if any(folder in file for folder in INSTALLED):  # most are: a path's parents take long
        return False
    above = Path(file).parents
    below = not folders.isdisjoint(above) and LIBRARY not in above
    return below and sys.modules.get(name) is module
