"""The devices that a run uses, the mesh over them, and how arrays lie on it."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jbatch.errors import Mistake
from jbatch.plan.layout import AXIS


def all_devices() -> list[jax.Device]:
    """Those of all processes; Mistake if the platform that was asked for is not there."""
    asked = jax.config.jax_platforms or ""
    advice = "give another, or install JAX for it, as pip install -e '.[cuda]'"
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:  # which of them depends on the platform
        said = (str(error) or "no device").splitlines()[0]
        raise Mistake(f"JAX_PLATFORMS is {asked}, which is not here ({said}): {advice}") from error
    first = asked.partition(",")[0]
    if first not in ("", "cpu") and devices[0].platform == "cpu":  # where JAX falls back silently
        raise Mistake(f"JAX_PLATFORMS is {asked}, and there is no {first} device here: {advice}")
    return devices


def make_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """A mesh of one axis over `devices`, in an order that suits what connects them."""
    return jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """A leading axis of one entry a device."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def local_rows(mesh: Mesh) -> list[int]:
    """Where along the mesh's axis this process's devices are, in order.

    Read from the sharding: on real meshes it does not follow from the number of the process.
    """
    indices = split(mesh).addressable_devices_indices_map((mesh.size,)).values()
    return sorted(index.indices(mesh.size)[0] for (index,) in indices)
