"""Describe the hardware, versions and settings of a run."""

import os
import platform
from importlib.metadata import version
from typing import Any

import jax

from jbatch import __version__
from jbatch.machine import schedulable_cores

LIBRARIES = ("jax", "jaxlib", "flax", "optax")  # these decide an update's program
SETTINGS = (  # JAX settings that change its results
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_default_matmul_precision",
    "jax_numpy_rank_promotion",
    "jax_threefry_partitionable",
)


def environment() -> dict[str, Any]:
    """Return the hardware, versions and settings of this process."""
    device = jax.devices()[0]
    return {
        "devices": f"{jax.device_count()} × {device.device_kind}",
        "cores": schedulable_cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "jbatch": __version__,  # also of a checkout that is not installed
        **{name: version(name) for name in LIBRARIES},
        **{name: getattr(jax.config, name) for name in SETTINGS},
        "xla_flags": _flags(),
    }


def _flags() -> str:
    """Return XLA_FLAGS without the number of simulated devices, which "devices" has."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return " ".join(flag for flag in flags if "host_platform_device_count" not in flag)
