"""All that is measured of one run, for a table."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jbatch.analysis.loss_landscape import Landscape
from jbatch.analysis.sharpness import largest_eigenvalue, random_directions, sharpness


class Box(NamedTuple):
    """A box around a minimum, and what was found in it."""

    epsilon: float
    space: str
    value: float  # percent of 1 + loss


class Measured(NamedTuple):
    """All that is measured of one run."""

    training_loss: float
    training_accuracy: float  # from 0 to 1
    sharpness: list[Box]
    largest_eigenvalue: float


def measure(
    landscape: Landscape,
    epsilons: Sequence[float],
    *,
    directions: int,
    iterations: int,
    seed: int,
    say: Callable[[str], None],
) -> Measured:
    """Measure how sharp a run's minimum is.

    Args:
        landscape: of the run.
        epsilons: how far the boxes reach, times |weight| + 1.
        directions: dimensions of the random subspace.
        iterations: of L-BFGS-B, at most.
        seed: of the subspace and of where searches begin.
        say: told what is being measured.
    """
    loss, accuracy = landscape.value(landscape.point)
    subspace = random_directions(landscape.x.size, directions, seed)
    boxes = []
    for epsilon in epsilons:
        for space, within in (("full space", None), ("subspace", subspace)):
            say(f"sharpness, ε {epsilon:g}, {space}")
            value = sharpness(
                landscape.value_and_gradient,
                landscape.x,
                epsilon,
                directions=within,
                iterations=iterations,
                seed=seed,
            )
            boxes.append(Box(epsilon, space, value))
    say("the largest eigenvalue")
    largest = largest_eigenvalue(landscape.hessian_times, landscape.x.size, seed=seed)
    return Measured(loss, accuracy, boxes, largest)
