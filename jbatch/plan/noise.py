"""The noise scale of stochastic gradient descent."""

from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy.typing as npt


@overload
def noise_scale(
    learning_rate: float, batch_size: int, momentum: float, num_examples: int | None
) -> float: ...
@overload
def noise_scale(
    learning_rate: "npt.NDArray[Any]",
    batch_size: "int | npt.NDArray[Any]",
    momentum: float,
    num_examples: int | None,
) -> "npt.NDArray[Any]": ...
def noise_scale(
    learning_rate: Any, batch_size: Any, momentum: float, num_examples: int | None
) -> Any:
    """Compute the size of SGD's random fluctuations, g = ε/(1−m) · (N/B − 1).

    Smith et al. (arXiv 1711.00489), equations 2 and 3 (with Smith and Le, arXiv 1710.06451). For
    B ≪ N this is εN/(B(1−m)), so growing the batch by the factor that the rate would have decayed
    keeps it the same. Beyond B ≈ N/10 the −1 matters. Without N the unit of time is one example
    instead of one epoch, and the −1 is left out: g = ε/(1−m) / B.

    Args:
        learning_rate: ε, scalar or array.
        batch_size: B in examples, scalar or array.
        momentum: m in [0, 1).
        num_examples: N, examples in the training set; None for a stream without epochs.

    Returns:
        The noise scale, of the arguments' broadcast shape; 0 for a full batch.
    """
    if num_examples is None:
        return learning_rate / (1.0 - momentum) / batch_size
    return learning_rate / (1.0 - momentum) * (num_examples / batch_size - 1.0)
