"""Estimate how many more seeds would decide what is undecided."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from jbatch.report.runs import ALIKE, Finding, Floats
from jbatch.text import counted

CHANCE = 0.8  # that the seeds decide, as is usual in planning trials
MOST = 1000  # seeds; no one trains more
FAR = 30.0  # standard errors; beyond, the probability is 0 or 1


def chance_to_decide(
    pairs: npt.NDArray[np.int64], mean: float, deviation: float, margin: float
) -> Floats:
    """Return the probability that so many pairs of seeds decide, (n,).

    They do if the 95% interval x̄ ± t₀.₉₇₅ s/√n is wholly within the margin, or wholly outside it.
    The first is the power of two one-sided tests, the second that of their opposite, each by the
    noncentral t distribution (Julious, Statistics in Medicine 23, 2004).

    Args:
        pairs: numbers of pairs, each at least 3, (n,).
        mean: of the differences.
        deviation: s, standard deviation of a difference, over 0.
        margin: over 0.
    """
    degrees = pairs - 1
    critical = stats.t.ppf(0.975, degrees)

    def beyond(distance: float) -> Floats:
        """Return the probability that the mean is seen to be over a value so far below it."""
        away = np.clip(distance * np.sqrt(pairs) / deviation, -FAR, FAR)
        found: Floats = stats.nct.sf(critical, degrees, away)
        return found

    within = np.maximum(beyond(margin - mean) + beyond(margin + mean) - 1, 0)
    decided: Floats = within + beyond(mean - margin) + beyond(-mean - margin)
    return decided


def pairs_to_decide(seen: int, mean: float, deviation: float, margin: float) -> int | None:
    """Return the fewest pairs, more than `seen`, that decide with `CHANCE`; None if over `MOST`."""
    pairs = np.arange(max(seen + 1, 3), MOST + 1)
    enough = pairs[chance_to_decide(pairs, mean, deviation, margin) >= CHANCE]
    return int(enough[0]) if len(enough) else None


def more_seeds_text(finding: Finding) -> str:
    """Say how many more seeds would decide an undecided finding; empty if seeds cannot tell."""
    seen = len(finding.differences)
    if finding.as_claimed is not None or finding.diverged or np.ptp(finding.differences) < ALIKE:
        return ""
    deviation = float(finding.differences.std(ddof=1))
    pairs = pairs_to_decide(seen, finding.mean, deviation, finding.margin)
    if pairs is None:
        return (
            f"{finding.variant}: {MOST:,} seeds would hardly decide it (an estimate): the "
            "difference is too near the margin for its spread."
        )
    return (
        f"{finding.variant}: about {counted(pairs - seen, 'more seed')}, {pairs:,} in all, would "
        f"decide it with a probability of {CHANCE:.0%}: an estimate, as if the mean and the "
        f"deviation of the {seen} differences seen were the true ones."
    )
