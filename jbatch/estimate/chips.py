"""Published figures of chips: the one table that estimates are made from."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One chip, with the memory and links that belong to it."""

    name: str
    prefix: str  # of its topologies' names
    flops: float  # a second, dense bfloat16, peak
    bandwidth: float  # bytes a second, of its memory
    memory: float  # bytes
    links: float  # bytes a second, in one direction, all links of it together
    source: str


# Cloud TPU documentation, "System architecture" of each version (figures as of 2025). Links are
# stated there for both directions together.
CHIPS = (
    Chip("v4", "v4", 275e12, 1_200e9, 32 * 2**30, 300e9, "Jouppi et al., arXiv 2304.01433"),
    Chip("v5e", "v5e", 197e12, 819e9, 16 * 2**30, 200e9, "Cloud TPU documentation, v5e"),
    Chip("v5p", "v5", 459e12, 2_765e9, 95 * 2**30, 600e9, "Cloud TPU documentation, v5p"),
    Chip("v6e", "v6e", 918e12, 1_640e9, 32 * 2**30, 400e9, "Cloud TPU documentation, v6e"),
)
# The compiler keeps some of a chip's memory for itself: of a v5e's 16 GiB it lets programs have
# 15.75.
USABLE = 15.75 / 16
