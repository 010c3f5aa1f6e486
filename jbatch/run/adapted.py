"""What an adaptive run keeps beside its state: what it has decided, and what it decides by."""

from dataclasses import dataclass, replace

import msgspec

from jbatch.errors import Mistake
from jbatch.plan.decided import Growths
from jbatch.task.base import ScoreSums


@dataclass(frozen=True)
class Adapted:
    """What a run has decided, and what its next decision reads beside the state."""

    growths: Growths = ()
    loss: tuple[float, float] = (0.0, 0.0)  # (sum, weight) since the last decision, less the totals
    losses: tuple[float, ...] = ()  # see `plan.adapt.remembered`

    def text(self) -> str:
        """Return it as text, to be saved beside a state."""
        return msgspec.json.encode(self).decode()

    def grew_at(self, examples: int) -> bool:
        """Return whether the newest growth is of this place."""
        return bool(self.growths) and self.growths[-1][0] == examples

    def logged(self, totals: ScoreSums) -> "Adapted":
        """Return it after a log point, which takes the totals (exact ones) out of the state."""
        total, weight = totals["loss"]
        return replace(self, loss=(self.loss[0] + float(total), self.loss[1] + float(weight)))


def adapted_of(text: str) -> Adapted:
    """Return what was saved beside a checkpoint; of "" as at the beginning.

    Raises:
        Mistake: if it is of another version of jbatch.
    """
    try:
        return msgspec.json.decode(text, type=Adapted) if text else Adapted()
    except msgspec.MsgspecError as error:
        raise Mistake(
            f"a checkpoint's decisions cannot be read ({error}): use the version of jbatch that "
            "made it, or start in another run directory"
        ) from error
