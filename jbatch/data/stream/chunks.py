"""A run's examples in chunks: any of them, at any time, from its number alone.

A chunk is what a worker decodes at once, a part of one host's share of one pass. Which examples it
holds follows from the plan and the order of each epoch; so nothing is replayed when a run is
resumed, and batches that grow are just other chunks.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np

from jbatch.data.image.crops import central_crop, random_crop
from jbatch.data.image.decode import decode
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.picture import DamagedImage
from jbatch.data.image.records import File, Records
from jbatch.data.order import epoch_order
from jbatch.errors import Mistake
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Passes
from jbatch.plan.plan import Plan

CHUNK = 32  # examples at most: large beside what handing a chunk over costs, small beside a pass
MOST_DAMAGED = 100  # files one after another: then something else is wrong


class Chunk(NamedTuple):
    """Decoded examples, but for their images."""

    labels: np.ndarray  # (n,) int32
    exists: np.ndarray  # (n,) bool; False where an evaluation is filled up
    damaged: tuple[str, ...]  # the file of each example that was replaced, or left out


def in_chunks(places: np.ndarray) -> list[np.ndarray]:
    """Cut a host's places of a pass."""
    return np.split(places, range(CHUNK, len(places), CHUNK))


class TrainingPositions:
    """Chunk number → positions of its examples in the endless stream."""

    def __init__(self, plan: Plan, passes: Mapping[int, Passes], rows: Sequence[int]):
        """For a plan whose updates are cut into `passes`; `rows` of the mesh are this host's."""
        self._starts = plan.positions
        self._offsets = {
            size: [
                start + places
                for start, layout in zip(_starts(made.layouts), made.layouts, strict=True)
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
        """The number of an update's first chunk, 0 ≤ update ≤ num_updates."""
        firsts = [phase.first_update for phase in self._phases]
        index = bisect_right(firsts, update) - 1
        phase = self._phases[index]
        before = self._ends[index - 1] if index else 0
        return before + (update - phase.first_update) * len(self._offsets[phase.batch_size])

    def __getitem__(self, number: int) -> np.ndarray:
        """(n,) int64, all of one epoch."""
        index = bisect_right(self._ends, number)
        phase = self._phases[index]
        offsets = self._offsets[phase.batch_size]
        nth, part = divmod(number - (self._ends[index - 1] if index else 0), len(offsets))
        return self._starts[phase.first_update + nth] + offsets[part]


class Chunks(Protocol):
    """Chunk number → examples; picklable, for workers."""

    shape: tuple[int, ...]  # of the most images that a chunk has, (CHUNK, size, size, 3)

    def __len__(self) -> int: ...

    def decode(self, number: int, images: np.ndarray) -> Chunk:
        """Decode a chunk's images into the first of `images`, of `shape`, uint8."""


class TrainingChunks:
    """The chunks of a run."""

    def __init__(
        self, records: Records, view: Photographs, seed: int, positions: TrainingPositions
    ):
        self._records, self._view, self._seed, self._positions = records, view, seed, positions
        self.shape = _shape(view)

    def __len__(self) -> int:
        return len(self._positions)

    def decode(self, number: int, images: np.ndarray) -> Chunk:
        """Decode a chunk's images into the first of `images`."""
        positions, count = self._positions[number], self._records.count
        epoch = int(positions[0]) // count
        order = _order(self._seed, epoch, count)
        files = self._records.read(order[positions - epoch * count].tolist())
        labels, damaged = np.empty(len(files), np.int32), []
        for place, (position, file) in enumerate(zip(positions.tolist(), files, strict=True)):
            crop = partial(random_crop, self._seed, position)
            try:
                decode(file, crop, images[place])
            except DamagedImage as error:
                _stop_if_asked(self._view, file, error)
                damaged.append(file.name)
                file = self._replacement(order, position % count, crop, images[place])
            labels[place] = file.label
        return Chunk(labels, np.ones(len(files), bool), tuple(damaged))

    def _replacement(self, order: np.ndarray, place: int, crop: Callable, image) -> File:
        """Decode the next position's example into `image`; at an epoch's end the epoch's first."""
        for following in range(1, MOST_DAMAGED):
            [file] = self._records.read([int(order[(place + following) % len(order)])])
            try:
                decode(file, crop, image)
                return file
            except DamagedImage:
                continue
        raise Mistake(
            f"{MOST_DAMAGED} examples in a row are damaged, the last {file.name}: restore the data "
            "set"
        )


class EvaluationChunks:
    """The chunks of evaluations, one after another without end, each in the order of the split."""

    def __init__(
        self, records: Records, view: Photographs, size: int, devices: int, rows: Sequence[int]
    ):
        """`size` examples a device and pass, of `devices`; `rows` of the mesh are this host's."""
        self._records, self._view = records, view
        self.shape = _shape(view)
        host = np.concatenate([row * size + np.arange(size) for row in rows])
        passes = range(0, records.count, size * devices)
        self._places = [start + part for start in passes for part in in_chunks(host)]

    def __len__(self) -> int:
        return 1 << 60

    @property
    def each(self) -> int:
        """Chunks of one evaluation."""
        return len(self._places)

    def decode(self, number: int, images: np.ndarray) -> Chunk:
        """Decode a chunk's images into the first of `images`."""
        places = self._places[number % self.each]
        labels, exists = np.zeros(len(places), np.int32), places < self._records.count
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
        images[: len(places)][~exists] = 0  # the same always, whatever was there before
        return Chunk(labels, exists, tuple(damaged))


def host_places(layout: Layout, rows: Sequence[int]) -> np.ndarray:
    """Places of a pass that the devices at `rows` of the mesh hold, device by device."""
    return np.concatenate([layout.places(row) for row in rows])


def _starts(layouts: Sequence[Layout]) -> list[int]:
    return list(accumulate((layout.size for layout in layouts[:-1]), initial=0))


def _shape(view: Photographs) -> tuple[int, int, int, int]:
    return CHUNK, view.image_size, view.image_size, 3


def _stop_if_asked(view: Photographs, file: File, error: DamagedImage) -> None:
    if view.damaged == "stop":
        raise Mistake(
            f"{file.name} does not decode ({error}): restore it, or train without it by "
            "--data.damaged replace"
        ) from error


_order = lru_cache(1)(epoch_order)  # a worker is in one epoch at a time
