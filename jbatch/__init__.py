"""jbatch: a trainer in JAX that treats batch size as part of the schedule.

Import all that an experiment file or a notebook needs from here; `__init__.pyi` lists the names.
Files that import only from `jbatch` stay valid when modules move.
"""

import ast
from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

_HOMES = {  # name → module, read from the stub
    alias.name: f"jbatch.{statement.module}"
    for statement in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body
    if isinstance(statement, ast.ImportFrom)
    for alias in statement.names
}
__all__ = tuple(_HOMES)


def __getattr__(name: str) -> object:
    """Import a name on first use, so that `jbatch --help` does not wait for JAX."""
    if name not in _HOMES:
        raise AttributeError(f"module 'jbatch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
