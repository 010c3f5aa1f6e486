"""What compiled programs need of a device's memory, and what it has; all in bytes."""

import os
from typing import NamedTuple

import jax


class Memory(NamedTuple):
    """Of one device while a program runs, by the compiler's own account."""

    arguments: int
    outputs: int  # that do not take the memory of donated arguments
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


def needed(compiled: jax.stages.Compiled) -> Memory:
    """By a compiled program."""
    found = compiled.memory_analysis()
    return Memory(
        arguments=found.argument_size_in_bytes,
        outputs=found.output_size_in_bytes - found.alias_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
    )


def available(device: jax.Device) -> int | None:
    """That programs may use; None where a device does not say, as CPUs."""
    return (device.memory_stats() or {}).get("bytes_limit")


def of_host() -> int:
    """Of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def readable(size: float) -> str:
    """A number of bytes for a person; of infinitely many, that a compiler refused them."""
    if size == float("inf"):
        return "more than there is"
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.2f} GiB"
