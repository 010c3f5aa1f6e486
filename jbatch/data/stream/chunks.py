"""Cutting a run's examples into chunks, each a function of its number.

A chunk is a part of one host's share of one pass; a worker decodes one chunk at a time. The plan
and the order of each epoch determine its examples. So a resumed run replays nothing, and growing
batches need no special case.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from jbatch.data.image.crops import Box, central_crop, random_crop
from jbatch.data.image.decode import decode
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.picture import DamagedImage
from jbatch.data.image.records import File, Records
from jbatch.data.order import epoch_order
from jbatch.errors import Mistake
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Passes
from jbatch.plan.plan import Plan

CHUNK = 32  # most examples: large against the cost of handing a chunk over, small against a pass
MOST_EVALUATED = 64  # examples per device in a pass of an evaluation
MOST_DAMAGED = 100  # damaged files in a row: then the fault is not in single files


class Leaf(NamedTuple):
    """One array of an example."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


# The arrays that a chunk's examples go into, each (CHUNK, …); one for each leaf of an example, in
# the order of `jax.tree`.
Room = Sequence[npt.NDArray[Any]]


class Chunk(NamedTuple):
    """What is known of a chunk's examples, which are in its room."""

    exists: npt.NDArray[np.bool_]  # (n,); False where an evaluation's last pass is padded
    damaged: tuple[str, ...]  # the file of each example that was replaced or skipped


def in_chunks(places: npt.NDArray[np.integer]) -> list[npt.NDArray[np.integer]]:
    """Cut a host's places of a pass into chunks."""
    return np.split(places, range(CHUNK, len(places), CHUNK))


class TrainingPositions:
    """Maps a chunk's number to the positions of its examples."""

    def __init__(self, plan: Plan, passes: Mapping[int, Passes], rows: Sequence[int]):
        """Prepare for a plan, its `passes` by batch size, and this host's `rows` of the mesh."""
        self._starts = plan.positions
        self._offsets = {
            size: [
                start + places
                for start, layout in made.placed(0)
                for places in in_chunks(host_places(layout, rows))
            ]
            for size, made in passes.items()
        }
        self._phases = plan.phases
        counts = (phase.updates * len(self._offsets[phase.batch_size]) for phase in plan.phases)
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1]

    def first(self, update: int) -> int:
        """Return the number of an update's first chunk, 0 ≤ update ≤ num_updates."""
        firsts = [phase.first_update for phase in self._phases]
        index = bisect_right(firsts, update) - 1
        phase = self._phases[index]
        before = self._ends[index - 1] if index else 0
        return before + (update - phase.first_update) * len(self._offsets[phase.batch_size])

    def __getitem__(self, number: int) -> npt.NDArray[np.int64]:
        """Return the positions, (n,) int64, all in one epoch."""
        index = bisect_right(self._ends, number)
        phase = self._phases[index]
        offsets = self._offsets[phase.batch_size]
        nth, part = divmod(number - (self._ends[index - 1] if index else 0), len(offsets))
        start: np.int64 = self._starts[phase.first_update + nth]
        return start + offsets[part]


class Chunks(Protocol):
    """Maps a chunk's number to its examples; picklable, for workers."""

    leaves: tuple[Leaf, ...]  # of one example

    def __len__(self) -> int: ...

    def decode(self, number: int, room: Room) -> Chunk:
        """Write a chunk's examples into the first places of `room`."""


class EvaluationPlaces:
    """Maps a chunk's number to places in a split, in order, over and over.

    Places beyond the split fill up the last pass.
    """

    def __init__(self, count: int, size: int, devices: int, rows: Sequence[int]):
        """Prepare passes of `size` examples per device, for this host's `rows` of the mesh."""
        host = np.concatenate([row * size + np.arange(size) for row in rows])
        self._places = [
            start + part for start in range(0, count, size * devices) for part in in_chunks(host)
        ]

    @property
    def each(self) -> int:
        """Number of chunks in one evaluation."""
        return len(self._places)

    def __getitem__(self, number: int) -> npt.NDArray[np.integer]:
        return self._places[number % self.each]


class TrainingChunks:
    """The training chunks of a run."""

    def __init__(
        self, records: Records, view: Photographs, seed: int, positions: TrainingPositions
    ):
        self._records, self._view, self._seed, self._positions = records, view, seed, positions
        self.leaves = _leaves(view)

    def __len__(self) -> int:
        return len(self._positions)

    def decode(self, number: int, room: Room) -> Chunk:
        """Write a chunk's examples into the first places of `room`."""
        images, labels = room
        positions, count = self._positions[number], self._records.count
        order, places = in_epoch(self._seed, positions, count)
        files = self._records.read(order[places].tolist())
        damaged = []
        for place, (position, file) in enumerate(zip(positions.tolist(), files, strict=True)):
            crop = partial(random_crop, self._seed, position)
            try:
                decode(file, crop, images[place])
            except DamagedImage as error:
                _stop_if_asked(self._view, file, error)
                damaged.append(file.name)
                file = self._replacement(order, position % count, crop, images[place])
            labels[place] = file.label
        return Chunk(np.ones(len(positions), bool), tuple(damaged))

    def _replacement(
        self,
        order: npt.NDArray[np.int32],
        place: int,
        crop: Callable[[int, int], Box],
        image: npt.NDArray[np.uint8],
    ) -> File:
        """Decode the next example that is not damaged into `image`; the epoch wraps around."""
        for following in range(1, MOST_DAMAGED):
            [file] = self._records.read([int(order[(place + following) % len(order)])])
            try:
                decode(file, crop, image)
                return file
            except DamagedImage:
                continue
        raise Mistake(
            f"{MOST_DAMAGED} examples in a row are damaged, the last is {file.name}: restore the "
            "dataset"
        )


class EvaluationChunks:
    """The chunks of endless evaluations, each in the order of the split."""

    def __init__(
        self, records: Records, view: Photographs, size: int, devices: int, rows: Sequence[int]
    ):
        """Prepare passes of `size` examples per device, for this host's `rows` of the mesh."""
        self._records, self._view = records, view
        self.leaves = _leaves(view)
        self._places = EvaluationPlaces(records.count, size, devices, rows)

    def __len__(self) -> int:
        return 1 << 60

    @property
    def each(self) -> int:
        """Number of chunks in one evaluation."""
        return self._places.each

    def decode(self, number: int, room: Room) -> Chunk:
        """Write a chunk's examples into the first places of `room`."""
        images, labels = room
        places = self._places[number]
        labels[: len(places)] = 0
        exists = places < self._records.count
        crop, damaged = partial(central_crop, self._view.central), []
        there = np.flatnonzero(exists).tolist()
        files = self._records.read(places[there].tolist()) if there else ()
        for place, file in zip(there, files, strict=True):
            try:
                decode(file, crop, images[place])
            except DamagedImage as error:
                _stop_if_asked(self._view, file, error)
                damaged.append(file.name)
                exists[place] = False
            labels[place] = file.label
        images[: len(places)][~exists] = 0  # deterministic, whatever the ring held before
        return Chunk(exists, tuple(damaged))


def host_places(layout: Layout, rows: Sequence[int]) -> npt.NDArray[np.int32]:
    """List the places of a pass that the devices at `rows` of the mesh hold, by device."""
    return np.concatenate([layout.places(row) for row in rows])


def in_epoch(
    seed: int, positions: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the order of the epoch that positions are in, and their places in it."""
    epoch = int(positions[0]) // count
    return _order(seed, epoch, count), positions - epoch * count


def _leaves(view: Photographs) -> tuple[Leaf, ...]:
    return Leaf((view.image_size, view.image_size, 3), "uint8"), Leaf((), "int32")


def _stop_if_asked(view: Photographs, file: File, error: DamagedImage) -> None:
    if view.damaged == "stop":
        raise Mistake(
            f"{file.name} does not decode ({error}): restore it, or train without it with "
            "--data.damaged replace"
        ) from error


_order = lru_cache(1)(epoch_order)  # a worker reads one epoch at a time
