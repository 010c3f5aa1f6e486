"""Map functions written for one device over all devices. No other module does this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jbatch.devices.memory import Memory, needed
from jbatch.devices.meshes import split
from jbatch.plan.layout import AXIS

Mapping = Literal["shard_map", "pmap"]


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
        return Executable(lowered.compile(compiler_options=options), bound)

    def lower(self) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
        """Return the lowered function, and the first arguments to bind to the compiled one."""
        with jax.enable_x64(False):  # the user's x64 setting must not change indices and counts
            return self._lower_pmap() if self.mapping == "pmap" else self._lower_shard_map()

    def _lower_shard_map(self) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
        def on_block(*arguments: Any) -> tuple[Any, ...]:
            local = [
                jax.tree.map(lambda leaf: leaf[0], argument) if differs else argument
                for argument, differs in zip(arguments, self.per_device, strict=True)
            ]
            results = self.function(*local)
            return tuple(
                jax.tree.map(lambda leaf: leaf[None], result) if differs else result
                for result, differs in zip(results, self.per_device_out, strict=True)
            )

        def specs(flags: Sequence[bool]) -> tuple[PartitionSpec, ...]:
            return tuple(PartitionSpec(AXIS) if differs else PartitionSpec() for differs in flags)

        # With check_vma, the gradient of a replicated parameter would be summed leaf by leaf.
        mapped = jax.shard_map(
            on_block,
            mesh=self.mesh,
            in_specs=specs(self.per_device),
            out_specs=specs(self.per_device_out),
            check_vma=False,
        )
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
