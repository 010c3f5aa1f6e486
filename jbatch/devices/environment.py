"""Hardware, versions and settings that a run is made with."""

import os
import platform
from importlib.metadata import version

import jax

from jbatch.machine import schedulable_cores

LIBRARIES = ("jax", "jaxlib", "flax", "optax")  # of which an update's program is made
SETTINGS = (  # of JAX, that change what it computes
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_default_matmul_precision",
    "jax_numpy_rank_promotion",
    "jax_threefry_partitionable",
)


def environment() -> dict:
    """Hardware, versions and settings that a run was made with."""
    device = jax.devices()[0]
    return {
        "devices": f"{jax.device_count()} × {device.device_kind}",
        "cores": schedulable_cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("jbatch", *LIBRARIES)},
        **{name: getattr(jax.config, name) for name in SETTINGS},
        "xla_flags": _flags(),
    }


def _flags() -> str:
    """XLA's, but for how many devices are simulated, which "devices" says."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return " ".join(flag for flag in flags if "host_platform_device_count" not in flag)
