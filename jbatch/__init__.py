"""jbatch: a trainer in JAX that treats batch size as part of the schedule."""

from jbatch.coupling import couple
from jbatch.errors import Mistake
from jbatch.plan import Phase, Plan, Row

__version__ = "0.1.0"
__all__ = ["Mistake", "Phase", "Plan", "Row", "couple"]
