"""The batch sizes that a plan may use."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, real, shown, whole, wholes

ROUNDING_OF_DECAY = 1e-5  # 0.02/0.1 must count as 1/5, also in float32
ROUNDING = 1e-9  # relative distance from a whole number that counts as rounding
MOST_SIZES = 10_000_000


def allowed_sizes(
    *,
    limit: int,
    of: str,
    batch_size: int,
    max_batch_size: int | None,
    growth_factor: float | None,
    batch_sizes: Sequence[int] | None,
    batch_multiple: int | None,
) -> npt.NDArray[np.int64]:
    """List the batch sizes that a plan may use, ascending from `batch_size`.

    Give exactly one of `growth_factor` (B0 times its powers), `batch_sizes` (the sizes themselves)
    and `batch_multiple` (its multiples). `max_batch_size` ends the list, and is its last size even
    if it is not on the grid. With None, the largest grid size within `limit` is the last: N, or
    the length of a stream, which `of` names.

    Returns:
        int64 array of shape (sizes,), strictly ascending, starting with `batch_size`.

    Raises:
        Mistake: if a size is impossible.
    """
    most, limit = limit, limit if max_batch_size is None else max_batch_size
    if limit < batch_size:
        raise Mistake(
            f"max_batch_size {limit:,} is under the first batch, {batch_size:,}: "
            f"give at least {batch_size:,} (if equal, the batch never grows)"
        )
    if limit > most:
        raise Mistake(
            f"max_batch_size {limit:,} is over the {most:,} examples of {of}: "
            f"give at most {most:,}, or None"
        )
    if growth_factor is not None:
        grid = _powers(batch_size, growth_factor, limit)
    elif batch_sizes is not None:
        grid = _listed(batch_sizes, batch_size, most, of)
    else:
        assert batch_multiple is not None  # one of the three is given
        grid = _multiples(batch_size, batch_multiple, limit)
    grid = grid[grid <= limit]
    if max_batch_size is not None and grid[-1] != max_batch_size:
        grid = np.append(grid, max_batch_size)
    return grid


def _powers(batch_size: int, factor: float, limit: int) -> npt.NDArray[np.int64]:
    factor = real("growth_factor", factor)
    if not 1 < factor < math.inf:
        raise Mistake(
            f"growth_factor {factor} does not grow the batch: give a factor over "
            "1, or leave growth_factor out for a constant batch"
        )
    sizes = [batch_size]
    while (size := sizes[-1] * factor) < limit + 0.5:
        if abs(size - round(size)) > ROUNDING * size:  # 0.3/0.1 is 3, but for the last bit
            raise Mistake(
                f"growth_factor {factor} makes a batch of {size:g} examples after {sizes[-1]:,}: "
                "give a factor that makes whole sizes, or list the sizes with batch_sizes"
            )
        sizes.append(round(size))
    return np.array(sizes, np.int64)


def _listed(
    batch_sizes: Sequence[int], batch_size: int, most: int, of: str
) -> npt.NDArray[np.int64]:
    listed = wholes("batch_sizes", batch_sizes)
    if max(listed, default=0) > most:
        raise Mistake(
            f"batch_sizes go to {max(listed):,}, over the {most:,} examples of {of}: "
            f"end them at {most:,} or below"
        )
    sizes = np.array(listed, np.int64)
    if len(sizes) == 0 or sizes[0] != batch_size:
        raise Mistake(
            f"batch_sizes {shown(list(batch_sizes))} do not start with batch_size {batch_size:,}: "
            "make the two agree"
        )
    if np.any(np.diff(sizes) <= 0):
        raise Mistake(
            f"batch_sizes {shown(list(batch_sizes))} do not ascend: list each once, in order"
        )
    return sizes


def _multiples(batch_size: int, multiple: int, limit: int) -> npt.NDArray[np.int64]:
    multiple = whole("batch_multiple", multiple)
    if batch_size % multiple:
        below = batch_size // multiple * multiple
        raise Mistake(
            f"batch_size {batch_size:,} is not a multiple of batch_multiple {multiple:,}: the "
            f"nearest are {below or multiple:,} and {below + multiple:,}; use one of them"
        )
    if (limit - batch_size) // multiple >= MOST_SIZES:
        raise Mistake(
            f"batch_multiple {multiple:,} makes over {MOST_SIZES:,} sizes up to {limit:,}: give a "
            "larger one, or a smaller max_batch_size"
        )
    return np.arange(batch_size, limit + 1, multiple, dtype=np.int64)
