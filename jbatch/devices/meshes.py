"""Find a run's devices, build the mesh over them, and make shardings."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jbatch.devices import cores
from jbatch.devices.malloc import keep_memory
from jbatch.errors import Mistake
from jbatch.plan.layout import AXIS
from jbatch.testing import point


def all_devices() -> list[jax.Device]:
    """Return the devices of all processes; raise Mistake if JAX_PLATFORMS names a missing one."""
    cores.each_a_device()
    asked = jax.config.jax_platforms or ""  # type: ignore[attr-defined]  # set at run time
    advice = "give another platform, or install JAX for it, for example pip install -e '.[cuda]'"
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:  # which of them depends on the platform
        said = (str(error) or "no device").splitlines()[0]
        raise Mistake(
            f"JAX_PLATFORMS is {asked}, which JAX cannot use here ({said}): {advice}"
        ) from error
    first = asked.partition(",")[0]
    if first not in ("", "cpu") and devices[0].platform == "cpu":  # where JAX falls back silently
        raise Mistake(f"JAX_PLATFORMS is {asked}, but JAX finds no {first} device: {advice}")
    if devices[0].platform == "cpu":
        keep_memory()
    return devices


def make_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """Return a mesh of one axis over `devices`, in an order that suits their interconnect."""
    mesh = jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))
    return point("mesh", mesh)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that copies an array to every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Return the sharding that splits the leading axis, one entry per device."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def local_rows(mesh: Mesh) -> list[int]:
    """Return the sorted positions of this process's devices along the mesh's axis.

    They are read from the sharding, because on real meshes they do not follow from the process id.
    """
    rows = []
    for index in split(mesh).addressable_devices_indices_map((mesh.size,)).values():
        assert index is not None  # a mesh's sharding gives every device a part
        rows.append(index[0].indices(mesh.size)[0])
    return sorted(rows)
