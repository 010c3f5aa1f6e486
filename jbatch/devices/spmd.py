"""Run functions on all devices: those written for one device, and those of whole arrays.

No other module does this.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jbatch.devices.memory import Memory, needed
from jbatch.devices.meshes import replicated, split
from jbatch.devices.parts import WHOLE
from jbatch.plan.layout import AXIS

Mapping = Literal["shard_map", "pmap"]

# Where the arrays of an argument or result lie: True if they have a leading axis with one entry per
# device, False if every device holds them whole, or a pytree of PartitionSpecs, one for each array
# or group of arrays.
Place = Any
LONGEST = "31536000"  # seconds


def on_each(
    function: Callable[..., tuple[Any, ...]],
    mesh: Mesh,
    places: Sequence[Place],
    places_out: Sequence[Place],
) -> Callable[..., tuple[Any, ...]]:
    """Return a function of whole arrays that runs another on every device, to be jitted.

    Args:
        function: of one device's arrays; without the leading axis where a place is True.
        mesh: the devices.
        places: of each argument.
        places_out: of each result.
    """

    def on_block(*arguments: Any) -> tuple[Any, ...]:
        local = [
            jax.tree.map(lambda leaf: leaf[0], argument) if place is True else argument
            for argument, place in zip(arguments, places, strict=True)
        ]
        results = function(*local)
        return tuple(
            jax.tree.map(lambda leaf: leaf[None], result) if place is True else result
            for result, place in zip(results, places_out, strict=True)
        )

    # With check_vma, the gradient of a replicated parameter would be summed leaf by leaf.
    return jax.shard_map(
        on_block,
        mesh=mesh,
        in_specs=tuple(map(_spec, places)),
        out_specs=tuple(map(_spec, places_out)),
        check_vma=False,
    )


def placed(mesh: Mesh, tree: Any, specs: Any) -> Any:
    """Return arrays, within a jitted function, of which the compiler knows where they lie."""
    return jax.tree.map(
        lambda leaf, spec: jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec)),
        tree,
        specs,
    )


def _spec(place: Place) -> Any:
    if isinstance(place, bool):
        return PartitionSpec(AXIS) if place else WHOLE
    return place


def sharding(mesh: Mesh, place: Place) -> Any:
    """Return the sharding of a place, or the pytree of shardings."""
    if isinstance(place, bool):
        return (split if place else replicated)(mesh)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), place)


@dataclass(frozen=True)
class Mapped:
    """A function for one device, to be mapped over the mesh's axis `layout.AXIS`."""

    function: Callable[..., tuple[Any, ...]]  # of pytrees without a device axis, to such pytrees
    mesh: Mesh
    mapping: Mapping  # "shard_map" under jit, or "pmap"; they compute the same
    arguments: Sequence[Any]  # shapes and dtypes of the compiled function's arguments
    # For each argument, whether it differs by device. If so, its leaves have a leading axis outside
    # the function, with one entry per device. The others are replicated.
    per_device: Sequence[bool]
    per_device_out: Sequence[bool]  # the same for each result
    donate: Sequence[int] = ()  # arguments whose memory the results may reuse

    def compile(self, options: dict[str, str | bool] | None = None) -> "Executable":
        """Compile the mapped function, which then refuses other shapes and never compiles again.

        Args:
            options: of XLA, for this function alone.
        """
        lowered, bound = self.lower()
        return _compiled(lowered, bound, self.mesh, options)

    def lower(self) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
        """Return the lowered function, and the first arguments to bind to the compiled one."""
        with jax.enable_x64(False):  # the user's x64 setting must not change indices and counts
            return self._lower_pmap() if self.mapping == "pmap" else self._lower_shard_map()

    def _lower_shard_map(self) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
        mapped = on_each(self.function, self.mesh, self.per_device, self.per_device_out)
        return jax.jit(mapped, donate_argnums=tuple(self.donate)).lower(*self.arguments), ()

    def _lower_pmap(self) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
        # pmap needs at least one argument that differs by device.
        index = jax.device_put(np.arange(self.mesh.size, dtype=np.int32), split(self.mesh))
        mapped = jax.pmap(
            lambda _, *rest: self.function(*rest),
            axis_name=AXIS,
            in_axes=(0, *(0 if differs else None for differs in self.per_device)),
            out_axes=tuple(0 if differs else None for differs in self.per_device_out),
            devices=list(self.mesh.devices.flat),
            donate_argnums=tuple(number + 1 for number in self.donate),
        )
        return mapped.lower(index, *self.arguments), (index,)


@dataclass(frozen=True)
class Whole:
    """A function of whole arrays. The compiler splits it over the devices, as its arrays lie."""

    function: Callable[..., tuple[Any, ...]]
    mesh: Mesh
    arguments: Sequence[Any]  # shapes and dtypes
    per_device: Sequence[Place]  # of each argument
    per_device_out: Sequence[Place]
    donate: Sequence[int] = ()

    def compile(self, options: dict[str, str | bool] | None = None) -> "Executable":
        """Compile the function, see `Mapped.compile`."""
        lowered, bound = self.lower()
        return _compiled(lowered, bound, self.mesh, options)

    def lower(self) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
        """Return the lowered function; there is no argument to bind."""
        jitted = jax.jit(
            self.function,
            in_shardings=tuple(sharding(self.mesh, place) for place in self.per_device),
            out_shardings=tuple(sharding(self.mesh, place) for place in self.per_device_out),
            donate_argnums=tuple(self.donate),
        )
        with jax.enable_x64(False):
            return jitted.lower(*self.arguments), ()


def _compiled(
    lowered: jax.stages.Lowered,
    bound: tuple[Any, ...],
    mesh: Mesh,
    options: dict[str, str | bool] | None,
) -> "Executable":
    """Compile a function. On a CPU's devices a collective may wait as long as it has to.

    XLA would end the process if one of them is 40 s late: after a machine slept, or Ctrl-Z.
    """
    if mesh.size > 1 and mesh.devices.flat[0].platform == "cpu":
        options = {**(options or {}), "xla_cpu_collective_call_terminate_timeout_seconds": LONGEST}
    return Executable(lowered.compile(compiler_options=options), bound)


@dataclass(frozen=True)
class Executable:
    """A compiled function, called with the mapped arguments."""

    compiled: jax.stages.Compiled
    bound: tuple[Any, ...]  # its first arguments

    def __call__(self, *arguments: Any) -> tuple[Any, ...]:
        """Return the results as a tuple."""
        results: tuple[Any, ...] = self.compiled(*self.bound, *arguments)
        return results

    @property
    def memory(self) -> Memory:
        """The memory that it needs on a device."""
        return needed(self.compiled)
