"""What jbatch trains: a task scores examples; the step sums, divides, and moves the parameters."""

from typing import Any, NamedTuple, Protocol

import jax

from jbatch.models.batch import Batch
from jbatch.optim import Optimizer
from jbatch.plan.layout import Layout

Tree = dict[str, Any]  # arrays in nested dicts

# Name → (sum over examples, sum of their weights), float32 scalars. "loss" is always there.
Scores = dict[str, tuple[jax.Array, jax.Array]]


class Task(Protocol):
    """What is trained: hashable, as a key to its compiled functions.

    All scores are sums, never means, so the result does not depend on how an update is split.
    """

    @property
    def group(self) -> int | None:
        """g: examples of an update that see each other; None if none do."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores beside the loss."""

    def init(self, seed: jax.Array) -> tuple[Tree, Tree]:
        """Return (parameters, statistics) from a uint32 seed."""

    def sums(self, params: Tree, stats: Tree, batch: Batch, layout: Layout) -> tuple[Scores, Tree]:
        """Return the scores of this device's examples of a training pass, and sums of statistics.

        Args:
            params: parameters.
            stats: running statistics before the update.
            batch: this device's examples, in the order of `layout.places`.
            layout: how the devices share the pass.
        """

    def running(self, stats: Tree, sums: Tree, groups: jax.Array) -> Tree:
        """Return running statistics after an update.

        Args:
            stats: running statistics before it.
            sums: of what each of its groups left, over all devices.
            groups: float32 scalar, how many groups that were.
        """

    def evaluate(self, params: Tree, stats: Tree, batch: Batch, exists: jax.Array) -> Scores:
        """Return the scores of those examples that exist, (B,) bool, with running statistics."""


class Learner(NamedTuple):
    """What an update does: a task, and the optimizer that takes its steps; hashable."""

    task: Task
    optimizer: Optimizer
    momentum: float
