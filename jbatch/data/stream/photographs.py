"""Streams of images."""

import hashlib
from collections.abc import Sequence

import jax
import numpy as np

from jbatch.data.about import About
from jbatch.data.batch import Spec
from jbatch.data.image.photographs import Photographs
from jbatch.data.image.records import Splits, open_records
from jbatch.data.stream.chunks import (
    MOST_EVALUATED,
    EvaluationChunks,
    TrainingChunks,
    TrainingPositions,
)


class PhotographStream:
    """Images on disk, see `feed.Stream`.

    Raises:
        Mistake: if they are missing or incomplete.
    """

    covered = "names, classes and sizes of the files, not their contents"
    most_evaluated = MOST_EVALUATED

    def __init__(self, view: Photographs, splits: Splits | None = None):
        self._view, self._splits = view, splits or open_records(view.source)
        self.counts = self._splits.train.count, self._splits.test.count
        self.about = about_photographs(view, self._splits.class_names)
        self.workers = view.workers

    def validation(self) -> "PhotographStream | None":
        """Return the stream with the validation split in place of the test's, if there is one."""
        held_out = self._splits.validation
        if held_out is None:
            return None
        return PhotographStream(self._view, self._splits._replace(test=held_out, validation=None))

    def digest(self) -> str:
        """Hash which examples both splits hold (SHA-256); reads no example."""
        both = self._splits.train.digest + self._splits.test.digest
        return hashlib.sha256(both.encode()).hexdigest()

    def training(self, seed: int, positions: TrainingPositions) -> TrainingChunks:
        """Return the chunks of training."""
        return TrainingChunks(self._splits.train, self._view, seed, positions)

    def evaluation(self, size: int, devices: int, rows: Sequence[int]) -> EvaluationChunks:
        """Return the chunks of evaluations, `size` examples per device in each pass."""
        return EvaluationChunks(self._splits.test, self._view, size, devices, rows)


def image_spec(shape: tuple[int, ...]) -> Spec:
    """Return the spec of an image of `shape` (H, W, C) and its label."""
    example = {
        "image": jax.ShapeDtypeStruct(shape, np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
    }
    leaves, structure = jax.tree.flatten(example)
    return Spec(structure, tuple(leaves))


def about_photographs(view: Photographs, class_names: Sequence[str]) -> About:
    """Return what a task learns about streamed images."""
    return About(
        image_spec((view.image_size, view.image_size, 3)),
        len(class_names),
        tuple(class_names),
        mean=view.mean,
        deviation=view.deviation,
    )
