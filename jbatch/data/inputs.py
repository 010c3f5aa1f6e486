"""Protocols of a dataset: its part of the compiled step, and its part of the training loop."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh

from jbatch.data.about import About
from jbatch.data.batch import Batch, Spec
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Passes
from jbatch.plan.plan import Plan

Arguments = tuple[Any, ...]  # of a compiled function: pytrees of arrays, or of their shapes


class Inputs(Protocol):
    """The part of a compiled step that gets examples from the step's arguments; hashable."""

    @property
    def num_examples(self) -> int | None:
        """Size of the training set; None for a stream that has no end."""

    @property
    def num_test(self) -> int:
        """Size of the test set."""

    @property
    def example(self) -> Spec:
        """Shapes and dtypes of an example."""

    @property
    def per_device(self) -> tuple[bool, ...]:
        """For each argument, whether it differs between devices."""

    @property
    def evaluation_per_device(self) -> tuple[bool, ...]:
        """The same of an evaluation's arguments."""

    @property
    def most_evaluated(self) -> int:
        """Largest micro-batch in evaluation."""

    # `*arguments: Any, **_: Any` lets each dataset name arguments of its own.

    def shapes(self, layout: Layout) -> Arguments:
        """Return shapes and dtypes of the arguments of a training pass."""

    def held(self, layout: Layout) -> int:
        """Count the bytes that a device holds beside the arguments of a pass of this layout."""

    def batch(self, layout: Layout, *arguments: Any, **_: Any) -> Batch:
        """Get this device's examples of a pass, in the order of `layout.places`."""

    def evaluation_shapes(self, size: int, devices: int) -> Arguments:
        """Return shapes and dtypes of the arguments of an evaluation's pass."""

    def evaluation_batch(self, size: int, *arguments: Any, **_: Any) -> tuple[Batch, jax.Array]:
        """Get this device's `size` examples of a pass, and which of them exist: (size,) bool."""


@runtime_checkable
class WholeEpoch(Inputs, Protocol):
    """Inputs whose arguments hold all passes of an epoch, so that one call may do several."""

    def later(self, number: jax.Array, layout: Layout, *arguments: Any, **_: Any) -> Arguments:
        """Return the arguments of the pass `number` passes later in the epoch."""


class Feed(Protocol):
    """Supplies the arguments of a run's training passes."""

    @property
    def most_in_flight(self) -> int:
        """Calls that may be queued and hold their arguments."""

    @property
    def waited(self) -> float:
        """Seconds that training has waited for examples."""

    @property
    def damaged(self) -> Sequence[str]:
        """Files replaced so far."""

    def ready(self, seconds: float) -> bool:
        """Wait up to `seconds` for the next pass; tell if it is ready. Not part of `waited`."""

    def arguments(self, position: int, layout: Layout) -> Arguments:
        """Return the arguments of the pass that starts at `position`, as `Inputs.shapes` says."""

    def follow(self, plan: Plan, update: int) -> None:
        """Go on with another plan, from `update` on."""

    def close(self) -> None:
        """Release workers and memory."""


class Loaded(Protocol):
    """An opened dataset: in memory, or on disk to be streamed."""

    @property
    def inputs(self) -> Inputs:
        """The dataset's part of a compiled step."""

    @property
    def about(self) -> About:
        """What a task may depend on."""

    def validation(self) -> "Loaded | None":
        """Return the data with the validation set in place of the test set, if there is one."""

    def digest(self) -> str:
        """Hash which examples the training set and the test set hold (SHA-256)."""

    @property
    def covered(self) -> str:
        """What the digest covers, in words."""

    def feed(
        self, mesh: Mesh, seed: int, plan: Plan, passes: Mapping[int, Passes], update: int, /
    ) -> Feed:
        """Start to supply the training passes of a plan, from `update` on."""

    def test(self, mesh: Mesh, size: int) -> "Evaluated":
        """Open the test set, in passes of `size` examples per device."""


class Evaluated(Protocol):
    """Supplies the arguments of evaluations."""

    @property
    def most_in_flight(self) -> int:
        """Calls that may be queued and hold their arguments."""

    @property
    def damaged(self) -> Sequence[str]:
        """Files skipped so far."""

    def passes(self) -> Iterator[Arguments]:
        """Yield the arguments of each pass of one evaluation."""

    def close(self) -> None:
        """Release workers and memory."""
