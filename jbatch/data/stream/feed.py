"""Streaming datasets of any size to the devices."""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh

from jbatch.data.about import About
from jbatch.data.batch import Batch, Example, Spec
from jbatch.data.inputs import Arguments
from jbatch.data.keys import example_keys
from jbatch.data.stream.chunks import MOST_EVALUATED, Chunks, TrainingPositions
from jbatch.data.stream.workers import Decoded, decoded, thread_without_signals
from jbatch.devices import meshes
from jbatch.machine import allow_open_files, usable_cores
from jbatch.plan.layout import AXIS, Layout
from jbatch.plan.passes import Passes, passes_of
from jbatch.plan.plan import Plan

OPEN_FILES, OPEN_FILES_OF_WORKER = 40, 20  # measured in a trainer, plus a margin
PASSES_AHEAD = 2  # passes that are on the devices before training needs them
ALIGNMENT = 64  # bytes
MOST_PLACES = 1 << 32  # in an epoch, or in a stream; a place is uint32
MOST_IN_FLIGHT = 2  # more hides nothing: a step on large images takes longer than the host's work


@dataclass(frozen=True)
class StreamedInputs:
    """The part of a compiled step that gets examples from each device's arrays; hashable."""

    num_examples: int | None
    num_test: int
    example: Spec
    most_evaluated: int = MOST_EVALUATED

    per_device = (True, False, False)
    evaluation_per_device = (True, True)

    def shapes(self, layout: Layout) -> Arguments:
        """Return shapes of the examples, seed, and (epoch, first place)."""
        return (
            self.example.stacked(layout.devices, layout.per_device),
            jax.ShapeDtypeStruct((), np.uint32),
            jax.ShapeDtypeStruct((2,), np.uint32),
        )

    def held(self, layout: Layout) -> int:
        """Count the bytes of passes that are prepared ahead, or still in flight."""
        beside = PASSES_AHEAD + MOST_IN_FLIGHT  # the current pass is counted as the step's argument
        return beside * layout.per_device * self.example.nbytes

    def batch(self, layout: Layout, examples: Example, seed: jax.Array, where: jax.Array) -> Batch:
        """Get this device's examples of a pass, in the order of `layout.places`."""
        epoch, first = where
        places = first + layout.places(jax.lax.axis_index(AXIS)).astype(jnp.uint32)
        return Batch(examples, example_keys(seed, epoch, places))

    def evaluation_shapes(self, size: int, devices: int) -> Arguments:
        """Return shapes of the examples, and of which exist."""
        exists = jax.ShapeDtypeStruct((devices, size), np.bool_)
        return self.example.stacked(devices, size), exists

    def evaluation_batch(
        self, size: int, examples: Example, exists: jax.Array
    ) -> tuple[Batch, jax.Array]:
        """Get this device's `size` examples of a pass, and which of them exist: (size,) bool."""
        del size  # the arguments' shapes have it
        return Batch(examples, None), exists


class Stream(Protocol):
    """A dataset on disk, found and complete: its chunks are read later, by workers."""

    @property
    def about(self) -> About:
        """What a task may depend on."""

    @property
    def counts(self) -> tuple[int | None, int]:
        """Number of examples of the training set, None if it has no end, and of the test set."""

    @property
    def workers(self) -> int | None:
        """Worker processes per host; None for one per core."""

    @property
    def most_evaluated(self) -> int:
        """Largest micro-batch in evaluation."""

    def validation(self) -> "Stream | None":
        """Return the stream with the validation split in place of the test's, if there is one."""

    def digest(self) -> str:
        """Hash which examples both splits hold (SHA-256)."""

    @property
    def covered(self) -> str:
        """What the digest covers, in words."""

    def training(self, seed: int, positions: TrainingPositions) -> Chunks:
        """Return the chunks of training."""

    def evaluation(self, size: int, devices: int, rows: Sequence[int]) -> Chunks:
        """Return the chunks of evaluations, `size` examples per device in each pass."""


class StreamedData:
    """A dataset on disk; a feed reads its examples later."""

    def __init__(self, stream: Stream):
        self._stream, self.about = stream, stream.about
        self.inputs = StreamedInputs(*stream.counts, self.about.example, stream.most_evaluated)

    def validation(self) -> "StreamedData | None":
        """Return the data with the validation set in place of the test set, if there is one."""
        held_out = self._stream.validation()
        return None if held_out is None else StreamedData(held_out)

    def digest(self) -> str:
        """Hash which examples both splits hold (SHA-256)."""
        return self._stream.digest()

    @property
    def covered(self) -> str:
        """What the digest covers, in words."""
        return self._stream.covered

    def feed(
        self, mesh: Mesh, seed: int, plan: Plan, passes: Mapping[int, Passes], update: int
    ) -> "StreamedFeed":
        """Stream the training set from `update` on; its workers start immediately."""
        needed = OPEN_FILES + OPEN_FILES_OF_WORKER * self._workers
        allow_open_files(needed, f"{self._workers} data workers, for training and for evaluation,")
        rows = meshes.local_rows(mesh)

        def begin(plan: Plan, update: int) -> _Passes:
            positions = TrainingPositions(plan, passes, rows)
            chunks = self._stream.training(seed, positions)
            ready = decoded(chunks, positions.first(update), self._workers)
            placed = passes_of(plan, passes, update)
            wanted = ((start, layout.per_device) for start, layout in placed)
            return _Passes(ready, wanted, mesh, rows, self.about.example)

        return StreamedFeed(begin, plan, update, seed)

    def test(self, mesh: Mesh, size: int) -> "StreamedTest":
        """Stream the test set, `size` examples per device and pass; workers start at first use."""
        rows = meshes.local_rows(mesh)
        chunks = self._stream.evaluation(size, mesh.size, rows)
        starts = range(0, self.inputs.num_test, size * mesh.size)

        def begin() -> _Passes:
            wanted = ((start, size) for start in itertools.cycle(starts))
            ready = decoded(chunks, 0, self._workers)
            return _Passes(ready, wanted, mesh, rows, self.about.example)

        return StreamedTest(begin, starts)

    @property
    def _workers(self) -> int:
        return usable_cores() if self._stream.workers is None else self._stream.workers


class _Pass(NamedTuple):
    """Examples of all devices; each array has a leading device axis."""

    start: int  # position of its first example
    examples: Example  # every leaf (D, n, …)
    exists: jax.Array  # (D, n) bool
    damaged: tuple[str, ...]


class _Passes:
    """Joins chunks to passes and sends them to the devices, a few ahead, in the background."""

    def __init__(
        self,
        chunks: Decoded,
        wanted: Iterator[tuple[int, int]],  # (start, micro-batch) of each pass
        mesh: Mesh,
        rows: Sequence[int],
        example: Spec,
    ):
        self._chunks, self._wanted, self._example = chunks, wanted, example
        self._sharding, self._rows = meshes.split(mesh), rows
        self._thread = thread_without_signals("input")
        self._ready: deque[Future[_Pass]] = deque()
        self.waited = 0.0  # seconds
        self.damaged: list[str] = []
        for _ in range(PASSES_AHEAD):
            self._prepare()

    def ready(self, seconds: float) -> bool:
        """Wait up to `seconds` for the next pass; tell if it is ready."""
        return not self._ready or bool(wait([self._ready[0]], seconds).done)

    def next(self, start: int) -> _Pass:
        """Return the next pass, which must start at `start`; wait until it is ready."""
        begun = time.perf_counter()
        result = self._ready.popleft().result()
        self.waited += time.perf_counter() - begun
        if result.start != start:
            raise RuntimeError(
                f"the pass at {start} is requested, but the one at {result.start} is next"
            )
        self._prepare()
        self.damaged += result.damaged
        return result

    def close(self) -> None:
        """End the workers."""
        try:
            self._thread.shutdown(cancel_futures=True)
        finally:
            self._chunks.close()

    def _prepare(self) -> None:
        wanted = next(self._wanted, None)
        if wanted is not None:
            self._ready.append(self._thread.submit(self._assemble, *wanted))

    def _assemble(self, start: int, size: int) -> _Pass:
        count, filled, known = len(self._rows) * size, 0, []
        joined = [_aligned((count, *leaf.shape), leaf.dtype) for leaf in self._example.leaves]
        while filled < count:
            room, chunk = next(self._chunks)
            end = filled + len(chunk.exists)
            for array, part in zip(joined, room, strict=True):
                array[filled:end] = part
            filled = end
            known.append(chunk)
            del room, part  # views of the ring, which ends with the workers
        exists, damaged = zip(*known, strict=True)
        placed = [self._on_devices(array, size) for array in joined]
        return _Pass(
            start,
            jax.tree.unflatten(self._example.structure, placed),
            self._on_devices(np.concatenate(exists), size),
            tuple(itertools.chain.from_iterable(damaged)),
        )

    def _on_devices(self, joined: npt.NDArray[Any], size: int) -> jax.Array:
        """Put this host's rows of an array (D, size, …) on its devices."""
        local = joined.reshape(len(self._rows), 1, size, *joined.shape[1:])
        shape = (self._sharding.num_devices, *local.shape[2:])

        def row(index: tuple[slice, ...] | None) -> npt.NDArray[Any]:
            assert index is not None  # JAX asks only for this host's rows
            found: npt.NDArray[Any] = local[self._rows.index(index[0].start or 0)]
            return found

        return jax.make_array_from_callback(shape, self._sharding, row)


def _aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Allocate an array, uninitialized, aligned so that JAX on a CPU uses it without a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class StreamedFeed:
    """Supplies the compiled step's arguments: examples, seed and position."""

    most_in_flight = MOST_IN_FLIGHT

    def __init__(self, begin: Callable[[Plan, int], _Passes], plan: Plan, update: int, seed: int):
        self._begin, self._passes = begin, begin(plan, update)
        self._seed, self._count = np.uint32(seed), plan.num_examples or MOST_PLACES

    @property
    def waited(self) -> float:
        """Seconds that training has waited for examples."""
        return self._passes.waited

    @property
    def damaged(self) -> list[str]:
        """Files replaced so far."""
        return self._passes.damaged

    def ready(self, seconds: float) -> bool:
        """Wait up to `seconds` for the next pass; tell if it is ready. Not part of `waited`."""
        return self._passes.ready(seconds)

    def arguments(self, position: int, layout: Layout) -> Arguments:
        """Return the arguments of the pass at `position`, which must be the plan's next."""
        del layout  # the feed has the plan's
        taken = self._passes.next(position)
        where = np.array(divmod(position, self._count), np.uint32)  # one transfer
        return taken.examples, self._seed, where

    def follow(self, plan: Plan, update: int) -> None:
        """Go on with another plan, from `update` on; passes prepared for the old one are lost."""
        before = self._passes
        before.close()
        self._passes = self._begin(plan, update)
        self._passes.waited, self._passes.damaged = before.waited, before.damaged

    def close(self) -> None:
        """End the workers."""
        self._passes.close()


class StreamedTest:
    """Supplies an evaluation's arguments. Its workers stay alive and prepare the next one."""

    most_in_flight = MOST_IN_FLIGHT

    def __init__(self, begin: Callable[[], _Passes], starts: range):
        self._begin, self._starts = begin, starts
        self._passes: _Passes | None = None

    @property
    def damaged(self) -> list[str]:
        """Files skipped so far."""
        return self._passes.damaged if self._passes else []

    def passes(self) -> Iterator[Arguments]:
        """Yield the arguments of each pass of one evaluation."""
        self._passes = self._passes or self._begin()
        for start in self._starts:
            taken = self._passes.next(start)
            yield taken.examples, taken.exists

    def close(self) -> None:
        """End the workers."""
        if self._passes:
            self._passes.close()
