"""On CPUs, make each core a device of XLA.

XLA splits a matrix product over cores, but not the many small operations of a convolution. A
device's share of the examples keeps a core busy without that.
"""

import os
from collections.abc import Sequence
from contextlib import suppress

import jax

from jbatch.machine import usable_cores

COUNT_FLAG = "xla_force_host_platform_device_count"
_made = False


def each_a_device() -> None:
    """Ask XLA for one CPU device per core, before JAX's first use.

    It does nothing if a person has chosen the number of devices, in a process of several, and after
    JAX's first use.
    """
    global _made
    number = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # set at run time
    chosen = COUNT_FLAG in os.environ.get("XLA_FLAGS", "") or number != -1
    if _made or chosen or jax.distributed.is_initialized():
        return
    with suppress(RuntimeError):  # after JAX's first use
        jax.config.update("jax_num_cpu_devices", usable_cores())
        _made = True


def needed(devices: Sequence[jax.Device]) -> int:
    """Return by how many devices, at least, a run's batches must be shared."""
    return 1 if optional() else len(devices)


def optional() -> bool:
    """Return whether a run may leave out devices, because jbatch made them and not a person."""
    return _made and jax.default_backend() == "cpu"
