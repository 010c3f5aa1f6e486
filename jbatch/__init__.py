"""jbatch: a trainer in JAX that treats batch size as part of the schedule."""

from importlib import import_module
from typing import TYPE_CHECKING

from jbatch.errors import Mistake

if TYPE_CHECKING:
    from jbatch.plan.couple import couple
    from jbatch.plan.plan import Phase, Plan, Row

__version__ = "0.1.0"
__all__ = ["Mistake", "Phase", "Plan", "Row", "couple"]

# Imported when asked for: the command line should answer, and stop, before JAX is there.
_HOMES = {"couple": "plan.couple", "Phase": "plan.plan", "Plan": "plan.plan", "Row": "plan.plan"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'jbatch' has no attribute {name!r}")
    return getattr(import_module(f"jbatch.{_HOMES[name]}"), name)
