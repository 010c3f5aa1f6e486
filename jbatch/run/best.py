"""Keep the checkpoint with the best evaluation."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from jbatch.errors import Mistake, meant
from jbatch.experiment.comparison import better_when
from jbatch.run.checkpoint import Checkpoints


class Best:
    """Knows the best evaluation so far.

    Args:
        checkpoints: of the best evaluation alone.
        name: of the score that decides.
        lines: of the run's metrics so far.
    """

    def __init__(self, checkpoints: Checkpoints, name: str, lines: Iterable[Mapping[str, Any]]):
        self.checkpoints, self._name = checkpoints, name
        self._sign = 1 if better_when(name) == "higher" else -1
        saved = checkpoints.newest
        there = [line for line in lines if line["kind"] == "eval" and line["examples"] == saved]
        self._best = self._value(there[-1]) if there and name in there[-1] else -math.inf

    def improves(self, scores: Mapping[str, float]) -> bool:
        """Return whether an evaluation is better than the saved one; NaN is not.

        Raises:
            Mistake: if it has no such score.
        """
        if self._name not in scores:
            raise Mistake(
                f"keep_best is {self._name}, which the task does not score: give one of "
                f"{', '.join(scores)}{meant(self._name, scores)}"
            )
        return self._value(scores) > self._best

    def saved(self, scores: Mapping[str, float]) -> None:
        """Remember an evaluation whose checkpoint was written."""
        self._best = self._value(scores)

    def _value(self, scores: Mapping[str, Any]) -> float:
        return float(self._sign * scores[self._name])
