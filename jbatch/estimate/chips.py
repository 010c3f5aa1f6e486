"""List the published figures of chips that estimates use."""

from typing import NamedTuple

from jbatch.estimate.gpus import GPUS


class Chip(NamedTuple):
    """Hold the figures of one chip, its memory and its links."""

    name: str
    prefix: str  # of its topologies' names in libtpu
    flops: float  # FLOP/s, dense bfloat16, peak
    bandwidth: float  # bytes/s of its memory
    memory: float  # bytes
    links: float  # bytes/s in one direction, all its links together
    source: str
    usable: float = 15.75 / 16  # share of the memory that programs get, as of a v5e's 16 GiB

    @property
    def is_gpu(self) -> bool:
        """Return whether XLA's compiler for CUDA compiles for it, and not libtpu."""
        return self.name in GPUS


# Cloud TPU documentation, "System architecture" of each version (figures as of 2025). It gives link
# rates for both directions together; these are halved.
CHIPS = (
    Chip("v4", "v4", 275e12, 1_200e9, 32 * 2**30, 300e9, "Jouppi et al., arXiv 2304.01433"),
    Chip("v5e", "v5e", 197e12, 819e9, 16 * 2**30, 200e9, "Cloud TPU documentation, v5e"),
    Chip("v5p", "v5", 459e12, 2_765e9, 95 * 2**30, 600e9, "Cloud TPU documentation, v5p"),
    Chip("v6e", "v6e", 918e12, 1_640e9, 32 * 2**30, 400e9, "Cloud TPU documentation, v6e"),
    *(
        Chip(
            *(name, name, flops, GPUS[name].bandwidth, GPUS[name].memory, links),
            *(f"NVIDIA's data sheet, {GPUS[name].name}", 0.75),  # what JAX takes of it
        )
        for name, flops, links in (
            ("a100", 312e12, 300e9),
            ("h100", 989e12, 450e9),
            ("h200", 989e12, 450e9),
            ("b200", 2_250e12, 900e9),
        )
    ),
)
