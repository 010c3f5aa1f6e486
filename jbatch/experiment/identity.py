"""The values that tell a run from others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jbatch.experiment.origin import Origin


@dataclass(frozen=True)
class Identity:
    """The values that tell a run from others; kept in its run directory."""

    origin: Origin | None
    described: dict[str, Any]  # the experiment's values, as JSON
    plan: str  # SHA-256 of the plan
    data: str  # SHA-256 of the examples of the training set and of the test set
    covered: str  # what that covers, in words
    program: str  # SHA-256 of one update's computation
    table: str  # the printed plan
    validation: str | None = None  # the same with the validation set in place of the test set
    init: str | None = None  # SHA-256 of the weights that the run begins with
    parameters: int | None = None  # how many numbers the network's have
    task: bytes | None = None  # pickle of the fitted task; None if it cannot be pickled
    series: str = ""  # where reports draw the run, as the experiment says
    point: Mapping[str, float] | None = None
