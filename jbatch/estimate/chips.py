"""List the published figures of chips that estimates use."""

from typing import NamedTuple


class Chip(NamedTuple):
    """Hold the figures of one chip, its memory and its links."""

    name: str
    prefix: str  # of its topologies' names in libtpu
    flops: float  # FLOP/s, dense bfloat16, peak
    bandwidth: float  # bytes/s of its memory
    memory: float  # bytes
    links: float  # bytes/s in one direction, all its links together
    source: str


# Cloud TPU documentation, "System architecture" of each version (figures as of 2025). It gives link
# rates for both directions together; these are halved.
CHIPS = (
    Chip("v4", "v4", 275e12, 1_200e9, 32 * 2**30, 300e9, "Jouppi et al., arXiv 2304.01433"),
    Chip("v5e", "v5e", 197e12, 819e9, 16 * 2**30, 200e9, "Cloud TPU documentation, v5e"),
    Chip("v5p", "v5", 459e12, 2_765e9, 95 * 2**30, 600e9, "Cloud TPU documentation, v5p"),
    Chip("v6e", "v6e", 918e12, 1_640e9, 32 * 2**30, 400e9, "Cloud TPU documentation, v6e"),
)
# The compiler reserves some memory of a chip: programs get 15.75 of a v5e's 16 GiB.
USABLE = 15.75 / 16
