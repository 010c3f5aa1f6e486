"""What a probe of a run found, and its table for people."""

import math
from dataclasses import dataclass

from jbatch.plan.critical import Branch, Place, critical, uncertainty
from jbatch.plan.plan import Plan
from jbatch.text import significant, text_table


@dataclass(frozen=True, repr=False)
class Probed:
    """What a probe of a run found. `str` of it is the table that `jbatch probe` prints."""

    plan: Plan  # of the run
    places: tuple[Place, ...]
    tolerance: float  # in units of the loss
    seed: int  # of the order in which branches see their examples
    ramp: str  # through the critical batches, as `ramp=` reads it
    ramp_updates: int  # of the run under this ramp
    seconds: float

    def __str__(self) -> str:
        return _text(self)

    def __repr__(self) -> str:
        return f"<Probed: critical batches {self.critical_batch_sizes}>"

    @property
    def critical_batch_sizes(self) -> dict[float, int]:
        """Each place, as it was asked for → its critical batch."""
        return {
            place.asked: critical(place.branches, self.tolerance).batch_size
            for place in self.places
        }

    @property
    def examples(self) -> int:
        """Examples that all branches trained on."""
        return sum(place.window.examples * len(place.branches) for place in self.places)

    @property
    def cost(self) -> float:
        """The same as a share of the run's."""
        return self.examples / self.plan.end


def _text(found: Probed) -> str:
    """Return the table, the critical batches, the ramp and the cost as text."""
    places = "\n".join(_said(found, place) for place in found.places)
    return (
        f"{_table(found)}\n\n"
        "Loss: training, mean over the last half of a window. * Critical batch: the largest within "
        f"{found.tolerance:g} of\nevery smaller one.\n\n"
        f"{places}\n\n"
        "A ramp through them, in place of what grows the batch (the rate follows it as B^p, p = "
        f"{found.plan.scaling:g}):\n\n"
        f'  ramp="{found.ramp}"\n\n'
        f"It takes {found.ramp_updates:,} updates, and the run takes {found.plan.num_updates:,}. "
        f"The probe trained on {found.examples:,} examples\n({found.cost:.1%} of the run's) in "
        f"{found.seconds:.0f} s."
    )


def _table(found: Probed) -> str:
    header = ("from", "batch", "updates", "learning rate", "loss", "above k = 1", "noise scale")
    rows = []
    for place in found.places:
        best = critical(place.branches, found.tolerance)
        for branch in place.branches:
            first = branch is place.branches[0]
            rows.append(
                (
                    found.plan.measure.place(place.window.position) if first else "",
                    f"{branch.batch_size:,}{' *' if branch is best else '  '}",
                    f"{branch.updates:,}",
                    f"{branch.learning_rate:.4g}",
                    f"{branch.loss:.4f}" if math.isfinite(branch.loss) else "diverged",
                    "" if first else _above(place, branch),
                    _scale(branch),
                )
            )
    return text_table(header, rows)


def _above(place: Place, branch: Branch) -> str:
    """Format how far a branch's loss is above that of the branch that keeps the batch."""
    above = branch.loss - place.branches[0].loss
    if not math.isfinite(above):
        return ""
    error = uncertainty(place, branch)
    said = f"{above:+.4f}" if error is None else f"{above:+.4f} ± {error:.4f}"
    return said.replace("-", "−")


def _scale(branch: Branch) -> str:
    """Format a branch's noise scale; empty if it is not known."""
    return "" if branch.noise_scale is None else significant(branch.noise_scale, 3)


def _said(found: Probed, place: Place) -> str:
    """Name a place's critical batch and noise scale."""
    best = critical(place.branches, found.tolerance)
    least = "at least " if best is place.branches[-1] else ""
    scale = _scale(best)
    measured = f"{scale} examples" if scale else "not found (too noisy, or an update has one part)"
    return (
        f"{found.plan.measure.place(place.window.position)}, over {place.window.examples:,} "
        f"examples: critical batch {least}{best.batch_size:,}; gradient noise scale {measured}"
    )
