"""Measure the memory that programs need, and that devices and the host have; in bytes."""

import os
from typing import NamedTuple

import jax


class Memory(NamedTuple):
    """Memory of one device while a program runs, from the compiler's memory analysis."""

    arguments: int
    outputs: int  # without those that reuse donated arguments
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(self)


def needed(compiled: jax.stages.Compiled) -> Memory:
    """Return the memory that a compiled program needs."""
    found = compiled.memory_analysis()
    assert found is not None  # CPUs, GPUs and TPUs have it
    return Memory(
        arguments=found.argument_size_in_bytes,
        outputs=found.output_size_in_bytes - found.alias_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
    )


def available(device: jax.Device) -> int | None:
    """Return the memory that programs may use; None if the device does not say, as on CPUs."""
    return (device.memory_stats() or {}).get("bytes_limit")


def of_host() -> int:
    """Return the memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
