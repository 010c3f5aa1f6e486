"""What a convolution is beside its two arrays."""

from typing import NamedTuple

Pair = tuple[int, int]
NHWC = ("NHWC", "HWIO", "NHWC")  # the axes of input, kernel and output


class Geometry(NamedTuple):
    """Sizes of a convolution of (N, H, W, C) with (kh, kw, C, K) to (N, H', W', K)."""

    image: Pair  # H, W
    size: Pair  # kh, kw
    stride: Pair
    padding: tuple[Pair, Pair]  # pixels of zeros before and after, of rows and of columns
    precision: str | None  # of products, as jax.default_matmul_precision was

    @property
    def edges(self) -> tuple[int, ...]:
        """The padding of all four sides."""
        return sum(self.padding, ())

    @property
    def output(self) -> Pair:
        """H', W'."""
        rows, columns = (
            (length + sum(edges) - size) // stride + 1
            for length, size, stride, edges in zip(
                self.image, self.size, self.stride, self.padding, strict=True
            )
        )
        return rows, columns
