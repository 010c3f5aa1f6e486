"""Streams of a person's own records."""

import hashlib
import math
import time
import traceback
from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jbatch.data.about import About
from jbatch.data.batch import Spec
from jbatch.data.dataset import narrowed
from jbatch.data.source import Source
from jbatch.data.stream.chunks import (
    MOST_EVALUATED,
    Chunk,
    EvaluationPlaces,
    Leaf,
    Room,
    TrainingPositions,
    in_epoch,
)
from jbatch.data.text.corpus import check_tokens
from jbatch.errors import Mistake, said, shown

HASHED = 256  # most records of a split that its digest covers, evenly spaced
TIMED = 4  # records, to find out how long an epoch takes to load
QUICK = 1.0  # seconds; workers take longer to start
STREAM = 1 << 62  # of random numbers, not that of crops


class SourceStream:
    """A `Source`, see `feed.Stream`.

    Raises:
        Mistake: if a split is empty, or its first record does not load.
    """

    most_evaluated = MOST_EVALUATED

    def __init__(self, source: Source, evaluated: str = "test", train: "Split | None" = None):
        self._source = source
        self._train = train or Split("train", source.train, source)
        self._test = Split(evaluated, getattr(source, evaluated), source)
        self.counts = self._train.count, len(self._test)
        here, there = self._train.spec, self._test.spec
        if here != there:
            raise Mistake(
                f"the {evaluated} examples of the source are {shown(there.tree)}, but the train "
                f"examples are {shown(here.tree)}: load both the same way"
            )
        self.about = About(here, source.num_classes)

    @cached_property
    def workers(self) -> int | None:
        """Worker processes per host; None for one per core."""
        given = self._source.workers
        return 0 if given is None and self._train.seconds_to_load() < QUICK else given

    def validation(self) -> "SourceStream | None":
        """Return the stream with the validation records in place of the test's, if there are."""
        if self._source.validation is None or self._test.name == "validation":
            return None
        return SourceStream(self._source, "validation", self._train)

    def digest(self) -> str:
        """Hash both splits (SHA-256), see `Split.digest`."""
        return hashlib.sha256((self._train.digest + self._test.digest).encode()).hexdigest()

    @property
    def covered(self) -> str:
        """What the digest covers, in words."""
        return f"{self._train.covered} and {self._test.covered}"

    def training(self, seed: int, positions: TrainingPositions) -> "SourceTraining":
        """Return the chunks of training."""
        return SourceTraining(self._train, seed, positions)

    def evaluation(self, size: int, devices: int, rows: Sequence[int]) -> "SourceEvaluation":
        """Return the chunks of evaluations, `size` examples per device in each pass."""
        return SourceEvaluation(self._test, size, devices, rows)


class Split:
    """The records of a split, and how one becomes an example; picklable, for workers."""

    def __init__(self, name: str, records: Any, source: Source):
        self.name, self._records, self._load = name, records, source.load
        self.count = _count(name, records)  # None for a stream
        if self.count == 0:
            raise Mistake(f"the {name} records of the source are none: give at least one")
        values, self._structure = self._flat(0, None)
        if not values:
            raise Mistake(
                f"record 0 of {name} gives no array: return one from load, or a dict of arrays"
            )
        paths = [jax.tree_util.keystr(path) for path, _ in self._paths()]
        # What Classify and LanguageModel read. JAX raises no error for one that is no class.
        known = () if source.num_classes is None else paths
        self._label = paths.index("['label']") if "['label']" in known else None
        # Beside a label, whose classes `num_classes` counts, tokens have a vocabulary of their own.
        read = "['tokens']" in known and self._label is None
        self._tokens = paths.index("['tokens']") if read else None
        self._num_classes = source.num_classes
        self._leaves: tuple[Leaf, ...] | None = None
        first = self.example(0, None)
        self._leaves = tuple(Leaf(array.shape, array.dtype.name) for array in first)

    def __len__(self) -> int:
        assert self.count is not None  # of a stream, nobody asks
        return self.count

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the number of examples, of up to `HASHED` of them, and of `digest()`.

        Records may have a method `digest` that returns text which tells them from all others.
        """
        hashed = hashlib.sha256(f"{self.name} {self.count} {self.spec}".encode())
        for place in self._hashed:
            for array in self.example(place, None):
                hashed.update(np.ascontiguousarray(array).tobytes())
        if callable(own := getattr(self._records, "digest", None)):
            try:
                hashed.update(str(own()).encode())
            except Exception as error:  # of a person's own code
                raise Mistake(
                    f"digest() of the {self.name} records fails ({type(error).__name__}: "
                    f"{said(error)}): return a text, or rename it if it is for something else"
                ) from error
        return hashed.hexdigest()

    @property
    def covered(self) -> str:
        """What the digest covers, in words."""
        some, every = len(self._hashed), self.count
        if every is None:
            count = f"the first {some:,}"
        else:
            count = f"all {some:,}" if some == every else f"{some:,} of {every:,}"
        also = ", and their digest()" if callable(getattr(self._records, "digest", None)) else ""
        return f"{count} {self.name} records as load gives them in evaluation{also}"

    @cached_property
    def _hashed(self) -> list[int]:
        if self.count is None:  # it may end before that
            return list(takewhile(self._has, range(HASHED)))
        places: list[int] = np.unique(np.linspace(0, len(self) - 1, HASHED).astype(int)).tolist()
        return places

    def _has(self, place: int) -> bool:
        """Return whether a stream goes on to a place; of other faults `example` tells."""
        try:
            self._records[place]
        except IndexError:
            return False
        except Exception:  # of a person's own code
            return True
        return True

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The arrays of an example."""
        assert self._leaves is not None
        return self._leaves

    @property
    def spec(self) -> Spec:
        """The spec of an example."""
        shapes = (jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in self.leaves)
        return Spec(self._structure, tuple(shapes))

    def example(self, index: int, rng: np.random.Generator | None) -> list[npt.NDArray[Any]]:
        """Load a record as the arrays of an example.

        Raises:
            Mistake: if it does not load, or differs in shape or dtype from the first record.
        """
        where = f"record {index:,} of {self.name}"
        values, structure = self._flat(index, rng)
        if structure != self._structure:
            raise Mistake(
                f"{where} gives an example with other parts than record 0 ({structure} and "
                f"{self._structure}): load every record alike"
            )
        arrays = [_array(where, value) for value in values]
        if self._label is not None and self._num_classes is not None:
            label = arrays[self._label]
            if label.shape or not 0 <= int(label) < self._num_classes:
                raise Mistake(
                    f"{where} has the label {shown(label.tolist())}, which is not within 0 to "
                    f"{self._num_classes - 1}: leave it out, or correct num_classes"
                )
        if self._tokens is not None and self._num_classes is not None:
            check_tokens(where, arrays[self._tokens], self._num_classes)
        if self._leaves is not None:
            for array, leaf in zip(arrays, self._leaves, strict=True):
                if Leaf(array.shape, array.dtype.name) != leaf:
                    raise Mistake(
                        f"{where} gives {array.dtype} of shape {array.shape} where record 0 gives "
                        f"{leaf.dtype} of shape {leaf.shape}: pad or crop to one shape in load"
                    )
        return arrays

    def seconds_to_load(self) -> float:
        """Measure how long an epoch takes to load in this process; a stream has no end."""
        if self.count is None:
            return math.inf
        places, rng = np.linspace(0, len(self) - 1, TIMED).astype(int), np.random.default_rng(0)
        begun = time.perf_counter()
        for place in places.tolist():
            self.example(place, rng)
        return (time.perf_counter() - begun) * len(self) / TIMED

    def _paths(self) -> list[tuple[Any, Any]]:
        leaves = range(self._structure.num_leaves)
        tree = jax.tree.unflatten(self._structure, leaves)
        paths: list[tuple[Any, Any]] = jax.tree_util.tree_flatten_with_path(tree)[0]
        return paths

    def _flat(self, index: int, rng: np.random.Generator | None) -> tuple[list[Any], Any]:
        try:
            record = self._records[index]
            example = record if self._load is None else self._load(record, rng)
        except Exception as error:  # of a person's own code
            at = traceback.extract_tb(error.__traceback__)[-1]
            file = "" if at.filename.startswith("<") else f"{at.filename}, "
            raise Mistake(
                f"record {index:,} of {self.name} does not load ({type(error).__name__}: "
                f"{said(error)}; {file}line {at.lineno})"
            ) from error
        return jax.tree.flatten(example)


def _count(name: str, records: Any) -> int | None:
    """Return the number of records; None if they have no `len`."""
    if not hasattr(records, "__len__"):
        return None
    try:
        return len(records)
    except Exception as error:  # of a person's own code
        raise Mistake(
            f"len() of the {name} records fails ({type(error).__name__}: {said(error)}): return "
            "their number, or, if they are a stream, define no __len__"
        ) from error


def _array(where: str, value: Any) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if not (array.dtype.kind in "biufc" or array.dtype.name == "bfloat16"):
        raise Mistake(
            f"{where} holds {shown(value)}: give load(record, rng), which returns arrays of "
            "numbers of one fixed shape"
        )
    array = narrowed(where, array)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        raise Mistake(f"{where} has NaN or infinity: leave such records out, or replace the values")
    return array


class SourceTraining:
    """The training chunks of a source."""

    def __init__(self, split: Split, seed: int, positions: TrainingPositions):
        self._split, self._seed, self._positions = split, seed, positions
        self.leaves = split.leaves

    def __len__(self) -> int:
        return len(self._positions)

    def decode(self, number: int, room: Room) -> Chunk:
        """Write a chunk's examples into the first places of `room`."""
        positions = self._positions[number]
        index_of = positions  # of a stream, which has an order of its own
        if self._split.count is not None:
            order, places = in_epoch(self._seed, positions, self._split.count)
            index_of = order[places].astype(np.int64)
        for at, (position, index) in enumerate(
            zip(positions.tolist(), index_of.tolist(), strict=True)
        ):
            rng = np.random.Generator(np.random.Philox(key=[STREAM + self._seed, position]))
            for array, value in zip(room, self._split.example(index, rng), strict=True):
                array[at] = value
        return Chunk(np.ones(len(positions), bool), ())


class SourceEvaluation:
    """The chunks of endless evaluations of a source."""

    def __init__(self, split: Split, size: int, devices: int, rows: Sequence[int]):
        self._split, self.leaves = split, split.leaves
        self._places = EvaluationPlaces(len(split), size, devices, rows)

    def __len__(self) -> int:
        return 1 << 60

    def decode(self, number: int, room: Room) -> Chunk:
        """Write a chunk's examples into the first places of `room`."""
        places = self._places[number]
        for at, place in enumerate(places.tolist()):
            values = self._split.example(place % len(self._split), None)
            for array, value in zip(room, values, strict=True):
                array[at] = value
        return Chunk(places < len(self._split), ())
