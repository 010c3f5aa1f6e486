"""The noisy quadratic: a model of training whose expected loss is computed exactly.

Along an eigenvector of curvature λ, an SGD update with rate ε and batch B changes the second moment
of the distance from the minimum as m ← (1 − ελ)² m + ε²λσ²/B. The loss is Σ λm/2. The noise is that
of examples whose gradients have the covariance σ² times the curvature.
"""

import math

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake
from jbatch.plan.plan import Plan

Values = npt.NDArray[np.float64]

CURVATURES: Values = np.arange(1, 201, dtype=np.float64) ** np.float64(-1.2)  # (200,), from 1
MOST_UPDATES = 1_000_000  # of an exact prediction: about five seconds
BLOCKS = 200  # of a schedule while its factor is tuned


def variance_of(noise_scale: float) -> float:
    """Return σ² for a noise scale trΣ/|G|² at the start, where every second moment is 1."""
    return float(noise_scale * (CURVATURES**2).sum() / CURVATURES.sum())


def final_loss(rates: npt.ArrayLike, sizes: npt.ArrayLike, variance: float) -> float:
    """Return the expected loss after updates from second moments of 1.

    Args:
        rates: of each update, float of shape (updates,).
        sizes: B of each update, of shape (updates,).
        variance: σ², noise per example.

    Returns:
        The expected loss; infinity if it overflows.
    """
    rates, sizes = np.asarray(rates, float), np.asarray(sizes, float)
    noise, loss = rates**2 * variance / sizes, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for curvature in CURVATURES.tolist():
            # left[t] is what the updates after t leave of a second moment, left[0] what all do.
            left = np.cumprod(((1 - rates * curvature) ** 2)[::-1])[::-1]
            after = np.append(left[1:], 1.0)
            loss += curvature / 2 * (left[0] + curvature * float(noise @ after))
    return float(loss) if np.isfinite(loss) else math.inf


def tuned(rates: npt.ArrayLike, sizes: npt.ArrayLike, variance: float) -> float:
    """Return the factor on the rates that makes the final loss smallest, to 3%.

    For speed, neighbouring updates make up blocks of one rate and batch.
    """
    columns = [np.asarray(each, float) for each in (rates, sizes)]
    edges = np.linspace(0, len(columns[0]), min(BLOCKS, len(columns[0])) + 1).astype(int)
    counts = np.diff(edges).astype(float)[:, None]  # (blocks, 1)
    means = [np.add.reduceat(each, edges[:-1])[:, None] / counts for each in columns]

    def loss(factor: float) -> float:
        rate = factor * means[0]
        with np.errstate(all="ignore"):
            kept = (1 - rate * CURVATURES) ** 2
            through = kept**counts  # (blocks, curvatures)
            made = rate**2 * CURVATURES * variance / means[1]
            noise = np.where(kept == 1, counts * made, made * (1 - through) / (1 - kept))
            after = np.cumprod(through[::-1], 0)[::-1]
            left = np.append(after[1:], np.ones_like(after[:1]), 0)
            total = float((CURVATURES * (after[0] + (noise * left).sum(0))).sum() / 2)
        return total if np.isfinite(total) else np.inf

    highest = float(np.max(means[0]))
    factors = np.geomspace(1e-5, 1.9, 24) / highest
    for _ in range(2):
        best = int(np.argmin([loss(factor) for factor in factors.tolist()]))
        near = factors[[max(best - 1, 0), min(best + 1, len(factors) - 1)]]
        factors = np.geomspace(near[0], near[1], 10)
    return float(factors[int(np.argmin([loss(factor) for factor in factors.tolist()]))])


def predicted(plan: Plan, decaying: Plan, noise_scale: float) -> float:
    """Return the final loss of a plan over that of its decaying twin.

    One factor multiplies the rates of both. It is the one that suits the twin best: people tune a
    schedule at its base batch. The quadratic knows no momentum.

    Args:
        plan: the plan.
        decaying: the same schedule at the base batch.
        noise_scale: trΣ/|G|² at the start, in examples.

    Raises:
        Mistake: if a plan is too long.
    """
    longest = max(plan.num_updates, decaying.num_updates)
    if longest > MOST_UPDATES:
        raise Mistake(
            f"--predict computes every update, and there are {longest:,}: give a plan of at most "
            f"{MOST_UPDATES:,} updates, also at its base batch"
        )
    variance = variance_of(noise_scale)
    factor = tuned(decaying.learning_rates, decaying.batch_sizes, variance)
    mine, theirs = (
        final_loss(factor * each.learning_rates.astype(float), each.batch_sizes, variance)
        for each in (plan, decaying)
    )
    return float(mine / theirs)


def predicted_text(ratio: float, base: int, noise_scale: float) -> str:
    """Say in words what `predicted` has found."""
    return (
        f"Noisy quadratic: the final loss is {ratio:.4g} times that with the batch kept at "
        f"{base:,}. (200 curvatures i^−1.2, a noise scale of {noise_scale:,.4g} examples at the "
        "start, the schedule's rate tuned for it, no momentum.)"
    )
