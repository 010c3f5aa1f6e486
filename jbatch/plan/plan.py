"""The plan: the immutable table update → (position, batch size, learning rate, momentum, …)."""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, whole
from jbatch.plan.decided import Decided
from jbatch.plan.hold import Hold, Values, follow
from jbatch.plan.layout import nearest_batch_sizes, why_not
from jbatch.plan.measure import Measure, Unit
from jbatch.plan.noise import noise_scale

if TYPE_CHECKING:
    import jax
    from jax.typing import ArrayLike


def exactly(value: float) -> Fraction:
    """Return the fraction that a float is meant to be: 0.1 → 1/10, 0.3333333333333333 → 1/3."""
    said = Fraction(str(value))
    return said.limit_denominator(1_000_000) or said  # or as written, if it would round to 0


class Row(NamedTuple):
    """One update of a plan.

    Examples:
        >>> plan = jbatch.couple(
        ...     lambda epoch: 0.1, num_examples=1000, num_epochs=2, ramp={0: 100, 1: 200}
        ... )
        >>> for row in plan:
        ...     epoch, first = divmod(row.position, plan.num_examples)
        ...     # Your update, on examples first … first + row.batch_size − 1 of this epoch.
        >>> row.update, epoch, first, row.batch_size
        (14, 1, 800, 200)
    """

    update: int
    """Its number, from 0."""
    position: int
    """Of its first example in the stream of all epochs."""
    epoch: float | None
    """position / num_examples; None for a stream without epochs."""
    phase: int
    """The phase that it is in, from 0."""
    batch_size: int
    """Its examples, over all devices."""
    learning_rate: float
    """ε."""
    momentum: float
    """m, or Adam's β1."""
    b2: float | None = None
    """Adam's β2; None if the plan does not know it."""
    eps: float | None = None
    """Adam's ε; likewise."""
    weight_decay: float | None = None
    """λ; likewise."""
    progress: float = 0.0
    """The part of the run that is over, position / end."""


class Phase(NamedTuple):
    """The longest run of updates with one batch size.

    Examples:
        >>> plan = jbatch.couple(
        ...     lambda epoch: 0.1, num_examples=1000, num_epochs=2, ramp={0: 100, 1: 200}
        ... )
        >>> [(phase.first_update, phase.updates, phase.batch_size) for phase in plan.phases]
        [(0, 10, 100), (10, 5, 200)]
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    """Its number, from 0."""
    first_update: int
    """Its first update; 0 is the run's first."""
    updates: int
    """Its number of updates."""
    first_epoch: float | None
    """Where it begins, in epochs; None for a stream without epochs."""
    batch_size: int
    """Examples of each update."""
    learning_rate: tuple[float, float]
    """The rates of its first and its last update."""

    @property
    def number(self) -> int:
        """What people call it: tables and progress count phases from 1."""
        return self.index + 1


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Every update of a training run, as `couple` makes it.

    The three arrays are the single source: `at`, `phases`, `crossings` and `learning_rate` derive
    from them, and so do trainer, loader, logs and the printed table. `str(plan)` is that table,
    `len(plan)` the number of updates, and `for row in plan` goes through them.

    Examples:
        >>> plan = jbatch.couple(
        ...     lambda epoch: 0.1, num_examples=1000, num_epochs=2, ramp={0: 100, 1: 200}
        ... )
        >>> plan
        <Plan of 15 updates, batches of 100 to 200>
        >>> plan.at(10).batch_size, round(plan.noise_scale(10), 3)
        (200, 0.8)
    """

    measure: Measure
    """The unit, N, and the tokens of an example."""
    length: float
    """Of the run, in the unit."""
    momentum: float
    """m at the base batch, as are b2, eps and weight_decay."""
    scaling: float
    """p: the rate follows the batch as B^p."""
    positions: npt.NDArray[np.int64]
    """(num_updates,), of each update's first example."""
    batch_sizes: npt.NDArray[np.int64]
    """(num_updates,), examples over all devices."""
    learning_rates: npt.NDArray[np.float32]
    """(num_updates,), ε."""
    warnings: tuple[str, ...] = ()
    """What the table warns of, a sentence each."""
    b2: float | None = None
    """Adam's β2; None if the plan does not know it."""
    eps: float | None = None
    """Adam's ε; likewise."""
    weight_decay: float | None = None
    """λ; likewise."""
    hold: Hold = Hold()  # noqa: RUF009 - frozen
    """Which of these values follow the batch."""
    base_batch_size: int | None = None
    """Which batch they are for. None: the first."""
    decided: Decided | None = None
    """What a run has decided. None: the plan is not by a run."""
    shares: npt.NDArray[np.float64] | None = None
    """(num_updates,), `Row.progress` of a part of another run. None: position / end."""

    def __post_init__(self) -> None:
        for array in (self.positions, self.batch_sizes, self.learning_rates):
            array.setflags(write=False)

    def __str__(self) -> str:
        from jbatch.plan.table import plan_text

        return plan_text(self).rstrip()

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Row]:
        return map(self.at, range(len(self)))

    def __repr__(self) -> str:
        sizes = f"{self.batch_sizes.min():,} to {self.batch_sizes.max():,}"
        return f"<Plan of {self.num_updates:,} updates, batches of {sizes}>"

    @property
    def num_updates(self) -> int:
        """Number of updates in the run."""
        return len(self.positions)

    @property
    def base(self) -> int:
        """The batch size that the optimizer's values are for."""
        return self.base_batch_size or int(self.batch_sizes[0])

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes that a run may come to, ascending: of its phases, or all allowed."""
        if self.decided is not None:
            return self.decided.allowed
        return tuple(sorted({phase.batch_size for phase in self.phases}))

    @property
    def begun(self) -> str:
        """The digest of the plan that a run begins with, before it decides anything."""
        return (self.decided and self.decided.begun) or self.digest

    def values(self, batch_size: int) -> Values:
        """Return the optimizer's values beside the rate at a batch size."""
        own = Values(self.momentum, self.b2, self.eps, self.weight_decay)
        return follow(self.hold, own, batch_size / self.base, self.scaling)

    @property
    def num_examples(self) -> int | None:
        """N, examples in the training set; None for a stream without epochs."""
        return self.measure.num_examples

    @property
    def examples_per_epoch(self) -> int:
        """N; of a stream, which is one epoch, as many as the run is long."""
        return self.end if self.measure.num_examples is None else self.measure.num_examples

    @property
    def num_epochs(self) -> float | None:
        """Length of the run in epochs; None for a stream without epochs."""
        if self.measure.num_examples is None:
            return None
        if self.measure.unit == "epochs":
            return self.length
        return self.measure.position(self.length) / self.measure.num_examples

    @cached_property
    def end(self) -> int:
        """The position at the end of the run, after the last epoch's remainder."""
        return max(
            int(self.positions[-1] + self.batch_sizes[-1]), self.measure.position(self.length)
        )

    def position(self, updates: int) -> int:
        """Return the position after `updates` updates: where the next one starts, or `end`."""
        return int(self.positions[updates]) if updates < self.num_updates else self.end

    def update_at(self, examples: int) -> int:
        """Return the first update that starts at position `examples` or later."""
        return int(np.searchsorted(self.positions, examples))

    def crossings(self, every: float, unit: Unit | None = None) -> frozenset[int]:
        """Return the update counts at which the position has passed a multiple of `every`.

        The end of the run is always among them.

        Args:
            every: length of an interval.
            unit: of `every`; None for the plan's own.
        """
        measure = self.measure if unit is None else replace(self.measure, unit=unit)
        step = exactly(every) * measure.per
        positions = measure.examples(np.append(self.positions, self.end))
        if max(self.end * step.denominator, step.numerator) > np.iinfo(np.int64).max:
            positions = positions.astype(object)  # Python's ints cannot overflow
        passed = positions * step.denominator // step.numerator
        crossed = np.flatnonzero(passed[1:] != passed[:-1]) + 1
        return frozenset(crossed.tolist()) | {self.num_updates}

    def at(self, update: int) -> Row:
        """Return the row of one update, 0 ≤ update < num_updates; raise IndexError outside."""
        if not 0 <= update < self.num_updates:
            raise IndexError(f"update {update} is outside the plan's 0 to {self.num_updates - 1}")
        position, batch_size = int(self.positions[update]), int(self.batch_sizes[update])
        momentum, b2, eps, weight_decay = self.values(batch_size)
        assert momentum is not None  # a plan always knows it
        return Row(
            update,
            position,
            None if self.num_examples is None else position / self.num_examples,
            bisect_right(self._first_updates, update) - 1,
            batch_size,
            float(self.learning_rates[update]),
            momentum,
            b2,
            eps,
            weight_decay,
            position / self.end if self.shares is None else float(self.shares[update]),
        )

    def noise_scale(self, update: int) -> float:
        """Return the planned noise scale ε/(1−m) · (N/B − 1) of one update; ε/(1−m)/B without N.

        m is that of the base batch. It can follow the batch only where the weights of gradients sum
        to 1 whatever it is, as β1's do.
        """
        row = self.at(update)
        return noise_scale(row.learning_rate, row.batch_size, self.momentum, self.num_examples)

    @cached_property
    def _first_updates(self) -> list[int]:
        changes = np.flatnonzero(np.diff(self.batch_sizes)) + 1
        return [0, *changes.tolist()]

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases, in order."""
        ends = [*self._first_updates[1:], self.num_updates]
        return tuple(
            Phase(
                index=index,
                first_update=first,
                updates=end - first,
                first_epoch=self.at(first).epoch,
                batch_size=self.at(first).batch_size,
                learning_rate=(self.at(first).learning_rate, self.at(end - 1).learning_rate),
            )
            for index, (first, end) in enumerate(zip(self._first_updates, ends, strict=True))
        )

    @cached_property
    def learning_rate(self) -> "Callable[[ArrayLike], jax.Array]":
        """The rates as an optax schedule: update count (int, any shape) → float32 rate.

        After the last update the rate stays the same. It works inside jit and in any training loop.
        """
        import jax.numpy as jnp  # printing a plan needs no JAX

        rates, last = self.learning_rates, self.num_updates - 1
        return lambda count: jnp.asarray(rates)[jnp.minimum(count, last)]

    def every(self, micro_batch: int) -> "Callable[[ArrayLike], Any]":
        """Return how many micro-batches each update has, for `optax.MultiSteps`.

        Args:
            micro_batch: examples of a micro-batch, over all devices.

        Returns:
            A function of the update (int, any shape), int32 of its shape, or int for an int; the
            `every_k_schedule` of MultiSteps. After the last update it stays the same.

        Raises:
            Mistake: if the micro-batch does not divide every batch size.

        Examples:
            >>> plan = jbatch.couple(
            ...     lambda epoch: 0.1, num_examples=1000, num_epochs=2, ramp={0: 100, 1: 200}
            ... )
            >>> [plan.every(50)(update) for update in (0, 9, 10)]
            [2, 2, 4]
        """
        micro_batch = whole("micro_batch", micro_batch)
        sizes = sorted({phase.batch_size for phase in self.phases})
        if odd := [size for size in sizes if size % micro_batch]:
            raise Mistake(
                f"micro_batch {micro_batch:,} does not divide a batch of {odd[0]:,}: give a "
                f"divisor of all sizes, at most {math.gcd(*sizes):,}"
            )
        counts, last = (self.batch_sizes // micro_batch).astype(np.int32), self.num_updates - 1

        def count(update: "ArrayLike") -> Any:
            if isinstance(update, int | np.integer):
                return int(counts[min(int(update), last)])
            import jax.numpy as jnp  # a loop without JAX counts in ints

            return jnp.asarray(counts)[jnp.minimum(update, last)]

        return count

    def to_json(self) -> str:
        """Describe the plan and its phases as JSON text, as `jbatch plan --json` prints it.

        Each phase has its first example (and token and epoch, where the plan knows them).
        """
        from jbatch.plan.table import plan_json

        return json.dumps(plan_json(self, None), indent=2)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows: runs with the same digest take the same updates."""
        hashed = hashlib.sha256(f"{self.num_examples} {self.momentum!r}".encode())
        for array, dtype in (
            (self.positions, "<i8"),
            (self.batch_sizes, "<i8"),
            (self.learning_rates, "<f4"),
        ):
            hashed.update(array.astype(dtype).tobytes())
        for name in self.hold.names:
            follows = [getattr(self.values(phase.batch_size), name) for phase in self.phases]
            hashed.update(name.encode() + np.array(follows, "<f4").tobytes())
        return hashed.hexdigest()

    def check(self, devices: int, ghost_batch: int | None) -> None:
        """Refuse batch sizes that the devices cannot share evenly, naming those of all phases.

        Args:
            devices: number of devices that share each update.
            ghost_batch: g, examples that share batch-norm statistics; None without batch norm.

        Raises:
            Mistake: names each size, the reason, and the nearest sizes that work.
        """
        problems, limit = [], self.num_examples or self.end
        for size in self.sizes:
            reason = why_not(size, devices, ghost_batch)
            if reason:
                nearest = nearest_batch_sizes(size, devices, ghost_batch, limit)
                fix = " or ".join(f"{near:,}" for near in nearest)
                problems.append(
                    f"batch {size:,} {reason}: {f'use {fix}' if fix else 'use fewer devices'}"
                )
        if problems:
            raise Mistake("; ".join(problems))
