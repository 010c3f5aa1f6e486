"""Measure how sharp a minimum is: Keskar's sharpness, and the Hessian's largest eigenvalue."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, minimize
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from jbatch.errors import Mistake

MOST_RESTARTS = 300  # of 20 products each
Vector = npt.NDArray[np.float64]  # (n,)
ValueAndGradient = Callable[[Vector], tuple[float, Vector]]


def sharpness(
    loss: ValueAndGradient,
    x: Vector,
    epsilon: float,
    *,
    directions: npt.NDArray[np.float32] | None = None,
    iterations: int = 10,
    seed: int = 0,
) -> float:
    """Compute Keskar's sharpness (arXiv 1609.04836, metric 2.1).

    φ = 100 · (max over y in C of f(x + Ay) − f(x)) / (1 + f(x)), and C is the box
    |y_i| ≤ ε(|(A⁺x)_i| + 1). L-BFGS-B searches for the maximum from a random point of the box,
    since the gradient at a minimum is 0.

    Args:
        loss: f and its gradient, (n,) float64, at any (n,) float64.
        x: (n,) float64, the minimum.
        epsilon: ε, the size of the box.
        directions: A, (n, p); None for the identity, the full space.
        iterations: of L-BFGS-B, at most.
        seed: of its starting point.

    Returns:
        φ, at least 0; infinite if the search finds a loss that is not finite.
    """
    near = x if directions is None else _coordinates(directions, x)
    reach = epsilon * (np.abs(near) + 1)
    at_x = loss(x)[0]
    highest = at_x

    def fallen(y: Vector) -> tuple[float, Vector]:
        nonlocal highest
        step = y if directions is None else directions @ y.astype(directions.dtype)
        value, gradient = loss(x + step)
        highest = max(highest, value if np.isfinite(value) else np.inf)
        if directions is not None:
            gradient = (gradient.astype(directions.dtype) @ directions).astype(np.float64)
        return -value, -gradient

    minimize(
        fallen,
        np.random.default_rng(seed).uniform(-reach, reach),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-reach, reach),
        options={"maxiter": iterations},
    )
    return 100 * (highest - at_x) / (1 + at_x)


def _coordinates(directions: npt.NDArray[np.float32], x: Vector) -> npt.NDArray[np.floating]:
    """Compute A⁺x by the normal equations: random directions are nearly orthogonal."""
    gram = (directions.T @ directions).astype(np.float64)
    return np.linalg.solve(gram, (directions.T @ x.astype(directions.dtype)).astype(np.float64))


def random_directions(size: int, count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draw A, the directions of a random subspace: (size, count) float32, standard normal.

    Raises:
        Mistake: if `count` is over half of `size`: A's normal equations are then ill-conditioned.
    """
    if count > size // 2:
        raise Mistake(
            f"--directions is {count:,}: for {size:,} parameters, give at most {size // 2:,}"
        )
    return np.random.default_rng(seed).standard_normal((size, count), np.float32)


def largest_eigenvalue(
    hessian: Callable[[Vector], Vector],
    size: int,
    *,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> float:
    """Compute the largest eigenvalue of a symmetric matrix by Lanczos' method (ARPACK).

    Args:
        hessian: multiplies the matrix by a vector, (size,) float64.
        size: of a vector.
        tolerance: relative, of the eigenvalue.
        seed: of the starting vector.
    """
    if size < 2:
        raise Mistake(f"a network of {size} parameter has no spectrum: give a larger network")
    operator = LinearOperator((size, size), matvec=hessian, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    if not hessian(start).any():
        return 0.0
    try:
        [found] = eigsh(
            operator,
            1,
            which="LA",
            v0=start,
            tol=tolerance,
            maxiter=MOST_RESTARTS,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence as error:
        raise Mistake(
            f"Lanczos' method did not find the largest eigenvalue to {tolerance:g} in "
            f"{MOST_RESTARTS} restarts: the loss may be flat there; try another --seed"
        ) from error
    return float(found)
