"""Make all measurements of one run, for a table."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jbatch.analysis.loss_landscape import Landscape
from jbatch.analysis.sharpness import largest_eigenvalue, random_directions, sharpness


class Box(NamedTuple):
    """Hold a box around a minimum, and the sharpness in it."""

    epsilon: float
    space: str
    value: float  # percent of 1 + loss


class Measured(NamedTuple):
    """Hold all measurements of one run."""

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
        epsilons: sizes ε of the boxes; a coordinate x moves by up to ε · (|x| + 1).
        directions: dimensions of the random subspace.
        iterations: of L-BFGS-B, at most.
        seed: of the subspace and of the searches' starting points.
        say: called with the name of each measurement before it.
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
