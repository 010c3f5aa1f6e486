"""Keep the checkpoint with the best evaluation."""

from collections.abc import Iterable, Mapping
from typing import Any

from jbatch.errors import Mistake, meant
from jbatch.run.checkpoint import Checkpoints

FALLING = ("loss", "error")  # words in the names of scores that are better when lower


class Best:
    """Knows the best evaluation so far.

    Args:
        checkpoints: of the best evaluation alone.
        name: of the score that decides.
        lines: of the run's metrics so far.
    """

    def __init__(self, checkpoints: Checkpoints, name: str, lines: Iterable[Mapping[str, Any]]):
        self.checkpoints, self._name = checkpoints, name
        self._sign = -1 if any(word in name for word in FALLING) else 1
        saved = checkpoints.newest
        there = [line for line in lines if line["kind"] == "eval" and line["examples"] == saved]
        self._best = self._value(there[-1]) if there and name in there[-1] else None

    def improves(self, scores: Mapping[str, float]) -> bool:
        """Return whether an evaluation is the best so far, and remember it if so.

        Raises:
            Mistake: if it has no such score.
        """
        if self._name not in scores:
            known = ", ".join(scores)
            raise Mistake(
                f"keep_best is {self._name}, but the task scores {known}"
                f"{meant(self._name, scores)}: give one of those"
            )
        value = self._value(scores)
        if self._best is not None and value <= self._best:
            return False
        self._best = value
        return True

    def _value(self, scores: Mapping[str, Any]) -> float:
        return float(self._sign * scores[self._name])
