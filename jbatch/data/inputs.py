"""Protocols of a dataset: its part of the compiled step, and its part of the training loop."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import jax
from jax.sharding import Mesh

from jbatch.plan.layout import Layout
from jbatch.plan.passes import Passes
from jbatch.plan.plan import Plan


class Batch(NamedTuple):
    """Input of the network."""

    images: jax.Array  # (B, H, W, C) float32, normalized
    labels: jax.Array  # (B,) int32
    keys: jax.Array | None  # (B,) a random key per example; None in evaluation


class Inputs(Protocol):
    """The part of a compiled step that gets examples from the step's arguments; hashable."""

    num_test: int
    input_shape: tuple[int, ...]  # (H, W, C)
    per_device: tuple[bool, ...]  # for each argument, whether it differs between devices
    evaluation_per_device: tuple[bool, ...]
    several: bool  # whether one call may do several updates, through `later`
    most_evaluated: int  # largest micro-batch in evaluation

    def shapes(self, layout: Layout) -> tuple:
        """Return shapes and dtypes of the arguments of a training pass."""

    def held(self, layout: Layout) -> int:
        """Count the bytes that a device holds beside the arguments of a pass of this layout."""

    def batch(self, layout: Layout, *arguments) -> Batch:
        """Get this device's examples of a pass, in the order of `layout.places`."""

    def later(self, number, layout: Layout, *arguments) -> tuple:
        """Return the arguments of the pass `number` passes later in the epoch, if `several`."""

    def evaluation_shapes(self, size: int, devices: int) -> tuple:
        """Return shapes and dtypes of the arguments of an evaluation's pass."""

    def evaluation_batch(self, size: int, *arguments) -> tuple[Batch, jax.Array]:
        """Get this device's `size` examples of a pass, and which of them exist: (size,) bool."""


class Feed(Protocol):
    """Supplies the arguments of a run's training passes."""

    most_in_flight: int  # calls that may be queued and hold their arguments
    waited: float  # seconds that training has waited for examples
    damaged: Sequence[str]  # files replaced so far

    def ready(self, seconds: float) -> bool:
        """Wait up to `seconds` for the next pass; tell if it is ready. Not part of `waited`."""

    def arguments(self, position: int, layout: Layout) -> tuple:
        """Return the arguments of the pass that starts at `position`, as `Inputs.shapes` says."""

    def close(self) -> None:
        """Release workers and memory."""


class Loaded(Protocol):
    """An opened dataset: in memory, or on disk to be streamed."""

    inputs: Inputs
    num_classes: int

    def digest(self) -> str:
        """Hash which examples the dataset holds (SHA-256)."""

    def feed(
        self, mesh: Mesh, seed: int, plan: Plan, passes: Mapping[int, Passes], update: int
    ) -> Feed:
        """Start to supply the training passes of a plan, from `update` on."""

    def test(self, mesh: Mesh, size: int) -> "Evaluated":
        """Open the test set, in passes of `size` examples per device."""


class Evaluated(Protocol):
    """Supplies the arguments of evaluations."""

    most_in_flight: int
    damaged: Sequence[str]  # files skipped so far

    def passes(self) -> Iterator[tuple]:
        """Yield the arguments of each pass of one evaluation."""

    def close(self) -> None:
        """Release workers and memory."""
