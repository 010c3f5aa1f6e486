"""What every source of examples gives: to the compiled step, and to the loop that calls it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import jax
from jax.sharding import Mesh

from jbatch.plan.layout import Layout
from jbatch.plan.passes import Passes
from jbatch.plan.plan import Plan


class Batch(NamedTuple):
    """What a network sees."""

    images: jax.Array  # (B, H, W, C) float32, normalized
    labels: jax.Array  # (B,) int32
    keys: jax.Array | None  # (B,) a random key of each example; None in evaluation


class Inputs(Protocol):
    """The part of a compiled step that takes its examples from its arguments; hashable."""

    num_test: int
    input_shape: tuple[int, ...]  # (H, W, C)
    per_device: tuple[bool, ...]  # for each argument, whether it differs by device
    evaluation_per_device: tuple[bool, ...]
    several: bool  # whether one call may take several updates, by `later`
    most_evaluated: int  # examples of a device in one pass of an evaluation

    def shapes(self, layout: Layout) -> tuple:
        """Shapes and dtypes of the arguments of a training pass."""

    def held(self, layout: Layout) -> int:
        """Bytes that a device holds beside the arguments of a pass of this layout."""

    def batch(self, layout: Layout, *arguments) -> Batch:
        """This device's examples of a pass, in the order of `layout.places`."""

    def later(self, number, layout: Layout, *arguments) -> tuple:
        """The arguments of the pass so many further on in the epoch, where `several` may be."""

    def evaluation_shapes(self, size: int, devices: int) -> tuple:
        """Shapes and dtypes of the arguments of an evaluation's pass."""

    def evaluation_batch(self, size: int, *arguments) -> tuple[Batch, jax.Array]:
        """This device's `size` examples of a pass, and which of them exist: (size,) bool."""


class Feed(Protocol):
    """Where a run's training passes get their arguments from."""

    most_in_flight: int  # calls that may wait with what they were given
    waited: float  # seconds so far that training waited for examples
    damaged: Sequence[str]  # files that were replaced so far

    def ready(self, seconds: float) -> bool:
        """Whether the next pass is ready; waits for it for so long, which does not count."""

    def arguments(self, position: int, layout: Layout) -> tuple:
        """Of the pass from `position` on, in the shapes of `Inputs`."""

    def close(self) -> None:
        """Let go of what it holds."""


class Loaded(Protocol):
    """A dataset that was found: in memory, or on disk to be streamed."""

    inputs: Inputs
    num_classes: int

    def digest(self) -> str:
        """SHA-256 of which examples it holds."""

    def feed(
        self, mesh: Mesh, seed: int, plan: Plan, passes: Mapping[int, Passes], update: int
    ) -> Feed:
        """The training passes of a plan, from an update on."""

    def test(self, mesh: Mesh, size: int) -> "Evaluated":
        """The test set, in passes of `size` examples on each device."""


class Evaluated(Protocol):
    """Where evaluations get their arguments from."""

    most_in_flight: int
    damaged: Sequence[str]  # files that were left out so far

    def passes(self) -> Iterator[tuple]:
        """The arguments of each pass of one evaluation."""

    def close(self) -> None:
        """Let go of what it holds."""
