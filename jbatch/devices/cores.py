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
_made: int | None = None  # devices that were asked for here


def each_a_device() -> None:
    """Ask XLA for one CPU device per core, before JAX's first use.

    It does nothing if a person has chosen the number of devices, in a process of several, and after
    JAX's first use. Commands call it before they run an experiment file, which may use JAX. The
    file may choose the number itself: a second call obeys.
    """
    global _made
    flag, number = COUNT_FLAG in os.environ.get("XLA_FLAGS", ""), _number()
    with suppress(RuntimeError):  # after JAX's first use
        if flag and _made is not None and number == _made:
            jax.config.update("jax_num_cpu_devices", -1)
            _made = None
        elif not flag and number == -1 and not jax.distributed.is_initialized():
            made = usable_cores()
            jax.config.update("jax_num_cpu_devices", made)
            _made = made


def needed(devices: Sequence[jax.Device]) -> int:
    """Return by how many devices, at least, a run's batches must be shared."""
    return 1 if optional(devices) else len(devices)


def optional(devices: Sequence[jax.Device]) -> bool:
    """Return whether a run may leave out some: all are given, and jbatch made them, no person."""
    made = _made is not None and _number() == _made
    return made and jax.default_backend() == "cpu" and len(devices) == jax.device_count()


def _number() -> int:
    number: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # set at run time
    return number
