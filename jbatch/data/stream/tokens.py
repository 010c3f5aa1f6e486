"""Streams of windows of a text; a few lines of NumPy, so they need no worker processes."""

from collections.abc import Sequence
from functools import lru_cache

import jax
import numpy as np
import numpy.typing as npt

from jbatch.data.about import About
from jbatch.data.batch import spec_of
from jbatch.data.order import epoch_cut
from jbatch.data.stream.chunks import (
    MOST_EVALUATED,
    Chunk,
    EvaluationPlaces,
    Leaf,
    Room,
    TrainingPositions,
)
from jbatch.data.text.corpus import Corpus, Split, opened
from jbatch.data.text.tokens import Tokens

MOST_LOGITS = 1 << 28  # per device in a pass of an evaluation: 1 GiB


class TokenStream:
    """`Tokens`, see `feed.Stream`.

    An example is {"tokens": (sequence + 1,), "count": int32, "bytes": float32}: the first `count`
    tokens after the first are predicted, and `bytes` is the size of their text. It is left out if
    that is not known.

    Raises:
        Mistake: if a file is missing, damaged, too short, or of another tokenizer.
    """

    workers = 0
    covered = "the tokens (of a long text, parts spread over it) and the tokenizer"

    def __init__(self, data: Tokens, evaluated: str = "test", corpus: Corpus | None = None):
        self._data, self._evaluated = data, evaluated
        self._corpus = corpus or opened(data)
        train, test = (self._corpus.splits[name] for name in ("train", evaluated))
        self._train, self._test = Windows(train, data.sequence), Windows(test, data.sequence)
        # An epoch may begin at any of the first `sequence` tokens.
        self._count = len(train.tokens) // data.sequence - 1
        self.counts = self._count, -(-(len(test.tokens) - 1) // data.sequence)
        logits = data.sequence * train.vocabulary  # of a window
        self.most_evaluated = max(1, min(MOST_EVALUATED, MOST_LOGITS // logits))
        example = spec_of(self._train.examples(np.zeros(1, np.int64)))
        self.about = About(example, train.vocabulary, tokenizer=self._corpus.tokenizer)

    def validation(self) -> "TokenStream | None":
        """Return the stream with the validation text in place of the test's, if there is one."""
        if "validation" not in self._corpus.splits or self._evaluated == "validation":
            return None
        return TokenStream(self._data, "validation", self._corpus)

    def digest(self) -> str:
        """Hash both splits, or parts of long ones, and the tokenizer (SHA-256)."""
        return self._corpus.digest(self._evaluated)

    def training(self, seed: int, positions: TrainingPositions) -> "TokenTraining":
        """Return the chunks of training."""
        return TokenTraining(self._train, self._count, seed, positions)

    def evaluation(self, size: int, devices: int, rows: Sequence[int]) -> "TokenEvaluation":
        """Return the chunks of evaluations, `size` examples per device in each pass."""
        places = EvaluationPlaces(self.counts[1], size, devices, rows)
        return TokenEvaluation(self._test, self.counts[1], places)


class Windows:
    """The windows of a split, from any token on."""

    def __init__(self, split: Split, sequence: int):
        self._split, self.sequence = split, sequence
        parts = jax.tree.leaves(self.examples(np.zeros(1, np.int64)))
        self.leaves = tuple(Leaf(part.shape[1:], part.dtype.name) for part in parts)

    def examples(self, starts: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
        """Return the examples whose first tokens are at `starts`, (n,); past the end, zeros."""
        tokens = self._split.tokens
        places = starts[:, None] + np.arange(self.sequence + 1)
        there = places < len(tokens)
        found = tokens[np.minimum(places, len(tokens) - 1)] * there
        self._split.check(found)
        count = np.maximum(there.sum(1, dtype=np.int32) - 1, 0)
        example = {"tokens": found, "count": count}
        if (ratio := self._split.bytes_per_token) is not None:
            example["bytes"] = (count * ratio).astype(np.float32)
        return example

    def put(self, starts: npt.NDArray[np.int64], room: Room) -> None:
        """Write examples into the first places of `room`."""
        for array, part in zip(room, jax.tree.leaves(self.examples(starts)), strict=True):
            array[: len(starts)] = part


class TokenTraining:
    """The training chunks of a text."""

    def __init__(self, windows: Windows, count: int, seed: int, positions: TrainingPositions):
        self._windows, self._count, self._positions = windows, count, positions
        self.leaves = windows.leaves
        self._cut = lru_cache(1)(lambda epoch: epoch_cut(seed, epoch, count, windows.sequence))

    def __len__(self) -> int:
        return len(self._positions)

    def decode(self, number: int, room: Room) -> Chunk:
        """Write a chunk's examples into the first places of `room`."""
        positions = self._positions[number]
        epoch = int(positions[0]) // self._count
        cut = self._cut(epoch)
        found = cut.windows(positions - epoch * self._count)
        self._windows.put(cut.first + found * self._windows.sequence, room)
        return Chunk(np.ones(len(positions), bool), ())


class TokenEvaluation:
    """The chunks of endless evaluations of a text."""

    def __init__(self, windows: Windows, count: int, places: EvaluationPlaces):
        self._windows, self._count, self._places = windows, count, places
        self.leaves = windows.leaves

    def __len__(self) -> int:
        return 1 << 60

    def decode(self, number: int, room: Room) -> Chunk:
        """Write a chunk's examples into the first places of `room`."""
        places = self._places[number].astype(np.int64)
        self._windows.put(places * self._windows.sequence, room)
        return Chunk(places < self._count, ())
