"""Check that an experiment's updates do not depend on how they are split, saved or evaluated."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.data.inputs import Loaded
from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.plan.passes import Passes, cut
from jbatch.plan.plan import Plan, Row
from jbatch.run.build import counted, make_setup
from jbatch.run.check import check
from jbatch.run.checkpoint import Checkpoints, parameters_digest
from jbatch.run.evaluate import evaluate
from jbatch.run.job import Evaluated, validation_of
from jbatch.step import programs
from jbatch.step.aot import Ahead
from jbatch.step.driver import Driver
from jbatch.step.programs import Evaluate, Setup
from jbatch.step.pure import State

UPDATES = 3
# Of the largest parameter. Sums in another order differ by about 1e-7 of themselves in float32 and
# by 4e-3 in bfloat16. Adam divides by roots of small numbers, which multiplies that by ten or more.
TOLERANCES = {"float32": 2e-5, "bfloat16": 2e-2}
ROUNDING = 1e-5  # a gradient so much smaller than the network's largest is rounding


class Split(NamedTuple):
    """A way to split an update."""

    devices: int
    passes: int

    def __str__(self) -> str:
        devices = "1 device" if self.devices == 1 else f"{self.devices} devices"
        return f"{devices}, {self.passes} pass{'es' * (self.passes > 1)}"


@dataclass(frozen=True)
class Checked:
    """The outcome of one check."""

    what: str
    passed: bool
    found: str


def check_experiment(experiment: Experiment, devices: Sequence[jax.Device]) -> Iterator[Checked]:
    """Yield the outcome of each check; it trains a few updates and writes to a temporary folder.

    Args:
        experiment: what to check.
        devices: to split updates over.

    Raises:
        Mistake: if the experiment cannot be trained at all.
    """
    experiment = counted(replace(experiment, updates_per_call=1, micro_batch=None))
    plan = _first_of(experiment.make_plan())
    check(experiment, plan, 1)
    setup, data = make_setup(experiment, plan, devices[:1])
    held_out = validation_of(setup, data)
    rows = [plan.at(update) for update in range(plan.num_updates)]
    here = _Trainer(setup, data, plan, rows, experiment.seed)
    whole = here.trained(Split(1, 1))
    yield _moved(here.initial, whole)
    yield Checked("dtypes", True, _dtypes(whole))
    for split in _splits(setup, rows, len(devices)):
        yield here.compared(whole, here.trained(split, devices), split)
    yield here.resumed(whole)
    yield here.evaluated(whole, devices, Evaluated(setup, data))
    if held_out is not None:
        yield here.evaluated(whole, devices, held_out, " on the validation set")


def _first_of(plan: Plan) -> Plan:
    """Return a plan of the first updates alone."""
    some = slice(min(UPDATES, plan.num_updates))
    end = plan.position(some.stop)
    return replace(
        plan,
        length=min(plan.length, plan.measure.at(end)),
        positions=plan.positions[some],
        batch_sizes=plan.batch_sizes[some],
        learning_rates=plan.learning_rates[some],
    )


def _splits(setup: Setup, rows: Sequence[Row], devices: int) -> Iterator[Split]:
    """Yield ways to split the updates, other than 1 device and 1 pass."""
    for split in (Split(1, 2), Split(1, 4), Split(devices, 1), Split(devices, 2)):
        if split != Split(1, 1) and _passes(setup, rows, split) is not None:
            yield split


def _passes(setup: Setup, rows: Sequence[Row], split: Split) -> dict[int, Passes] | None:
    """Return the passes of each batch size; None if they cannot be split so."""
    sizes = {row.batch_size for row in rows}
    group = setup.task.group
    if any(size % (split.devices * split.passes) for size in sizes):
        return None
    try:
        limit = max(sizes) // split.devices // split.passes
        found = cut(sizes, split.devices, group, limit)
    except Mistake:
        return None
    right = all(len(found[size].calls) >= min(split.passes, size) for size in sizes)
    return found if right else None


class _Trainer:
    """Takes the first updates of a plan."""

    def __init__(self, setup: Setup, data: Loaded, plan: Plan, rows: Sequence[Row], seed: int):
        self._setup, self._data, self._plan, self._rows = setup, data, plan, rows
        self._seed = seed

    @property
    def initial(self) -> State:
        """The state before the first update, on the host."""
        state = programs.initializer(self._setup)(np.uint32(self._seed))
        on_host: State = jax.tree.map(np.array, jax.device_get(state))
        return on_host

    def trained(self, split: Split, devices: Sequence[jax.Device] = ()) -> State:
        """Return the state after the updates, on the host."""
        setup = self._setup
        if split.devices > 1:
            setup = replace(setup, mesh=meshes.make_mesh(list(devices[: split.devices])))
        state = programs.initializer(setup)(np.uint32(self._seed))
        return self._from(setup, split, state, 0, len(self._rows))

    def _from(self, setup: Setup, split: Split, state: State, first: int, last: int) -> State:
        passes = _passes(setup, self._rows, split)
        assert passes is not None  # `_splits` yields those that can be
        with (
            closing(Ahead(setup, passes)) as ahead,
            closing(self._data.feed(setup.mesh, self._seed, self._plan, passes, first)) as feed,
        ):
            driver = Driver(setup, ahead, feed)
            for row in self._rows[first:last]:
                state = driver.update(state, [row])
            on_host: State = jax.tree.map(np.array, jax.device_get(state))
        return on_host

    def compared(self, whole: State, other: State, split: Split) -> Checked:
        """Compare the parameters of two splits."""
        exact = not any(_half(leaf) for leaf in jax.tree.leaves(whole.params))
        tolerance = TOLERANCES["float32" if exact and not self._half else "bfloat16"]
        apart, where = _largest_difference(whole.params, other.params)
        found = f"parameters differ by {apart:.1e} of the largest after {len(self._rows)} updates"
        if apart <= tolerance:
            return Checked(str(split), True, found)
        rounding = {
            name: _is_rounding(leaf, self._largest) for name, leaf in self._gradients.items()
        }
        if rounding[where].all():
            return Checked(
                str(split),
                False,
                f"{found}, most at {where}: its gradient is nothing but rounding, which Adam and "
                "its kin turn into full steps. A bias before a norm is such a parameter: leave it "
                "out (use_bias=False)",
            )
        apart, where = _largest_difference(whole.params, other.params, rounding)
        if apart <= tolerance:
            return Checked(
                str(split),
                True,
                f"parameters differ by {apart:.1e} of the largest, without single numbers whose "
                "gradient is nothing but rounding, such as those of an input that is always 0",
            )
        return Checked(
            str(split),
            False,
            f"{found}, most at {where}: its examples see more than themselves and their group, or "
            "draw random numbers from another key than the one that they are given",
        )

    @property
    def _half(self) -> bool:
        """Whether the network computes in half precision."""
        return getattr(getattr(self._setup.task, "task", None), "dtype", "") == "bfloat16"

    @property
    def _largest(self) -> float:
        return max(float(np.abs(leaf).max()) for leaf in self._gradients.values())

    @cached_property
    def _gradients(self) -> dict[str, Any]:
        """Return the gradient of the first update, by path."""
        setup = self._setup
        state = programs.initializer(setup)(np.uint32(self._seed))
        size = self._rows[0].batch_size
        passes = cut([size], 1, setup.task.group, None)
        with closing(self._data.feed(setup.mesh, self._seed, self._plan, passes, 0)) as feed:
            [layout] = passes[size].layouts
            [sums] = programs.gradients(setup, layout)(state, *feed.arguments(0, layout))
            leaves = jax.tree_util.tree_flatten_with_path(jax.device_get(sums))[0]
        return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}

    def resumed(self, whole: State) -> Checked:
        """Save after every update, and go on from what was saved."""
        setup, split = self._setup, Split(1, 1)
        state = programs.initializer(setup)(np.uint32(self._seed))
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(Checkpoints(Path(folder) / "checkpoints", lambda _: None)) as checkpoints,
        ):
            for number in range(len(self._rows)):
                on_host = self._from(setup, split, state, number, number + 1)
                placed = jax.device_put(on_host, meshes.replicated(setup.mesh))
                checkpoints.save(number + 1, placed)
                checkpoints.wait()
                restored = checkpoints.restore(programs.state_on_devices(setup))
                assert restored is not None  # it was saved
                state = restored.state
        same = parameters_digest(state.params) == parameters_digest(whole.params)
        found = "the same bits" if same else "other parameters than without saving"
        return Checked(f"{len(self._rows) - 1} resumes", same, found)

    def evaluated(
        self, whole: State, devices: Sequence[jax.Device], on: Evaluated, what: str = ""
    ) -> Checked:
        """Evaluate on one device and on all, in passes of other sizes."""
        found = []
        for count in (1, len(devices)):
            mesh = meshes.make_mesh(list(devices[:count]))
            setup = replace(on.setup, mesh=mesh)
            state = jax.device_put(whole, meshes.replicated(mesh))
            with closing(on.data.test(mesh, setup.evaluation_size)) as test:
                scored = evaluate(setup, programs.compiled(setup, Evaluate()), state, test)
            assert scored is not None  # nothing asks it to stop
            found.append(scored.scores)
        one, other = found
        apart = max(abs(one[name] - other[name]) / (abs(one[name]) or 1.0) for name in one)
        text = ", ".join(f"{name} {value:.4g}" for name, value in one.items())
        where = f"1 and {len(devices)} devices" if len(devices) > 1 else "1 device"
        passed = apart <= TOLERANCES["bfloat16" if self._half else "float32"]
        said = f"{text}; they differ by {apart:.1e}" if len(devices) > 1 else text
        if not passed:
            said += ": an example's scores depend on those beside it in a pass"
        return Checked(f"evaluation{what}, {where}", passed, said)


def _is_rounding(gradient: Any, largest: float) -> Any:
    return np.abs(gradient) < ROUNDING * largest


def _half(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating)) and leaf.dtype.itemsize < 4


def _moved(initial: State, state: State) -> Checked:
    """Check that the parameters moved and are finite."""
    if _largest_difference(initial.params, state.params)[0] == 0:
        return Checked(
            "finite gradients",
            False,
            "no parameter moves: the loss does not depend on them, or the learning rate is 0",
        )
    for path, leaf in jax.tree_util.tree_flatten_with_path(state.params)[0]:
        if not np.isfinite(np.asarray(leaf, np.float32)).all():
            where = jax.tree_util.keystr(path)
            return Checked(
                "finite gradients",
                False,
                f"{where} is NaN or infinite: lower the learning rate, "
                "or look for a logarithm or a root of 0 in the loss",
            )
    return Checked("finite gradients", True, f"after {int(state.taken)} updates")


def _dtypes(state: State) -> str:
    counts: dict[str, int] = {}
    for leaf in jax.tree.leaves(state.params):
        counts[leaf.dtype.name] = counts.get(leaf.dtype.name, 0) + leaf.size
    return "parameters: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _largest_difference(
    here: Any, there: Any, without: Mapping[str, Any] | None = None
) -> tuple[float, str]:
    """Return the largest difference, as a share of the largest number, and its path.

    Args:
        here: a tree of arrays.
        there: a tree like it.
        without: path → bool array, numbers to leave out.
    """
    leaves = jax.tree_util.tree_flatten_with_path(here)[0]
    scale = max(float(np.abs(np.asarray(leaf, np.float64)).max()) for _, leaf in leaves) or 1.0
    largest, where = 0.0, ""
    for (path, mine), theirs in zip(leaves, jax.tree.leaves(there), strict=True):
        apart = np.abs(np.asarray(mine, np.float64) - np.asarray(theirs, np.float64))
        if without is not None:
            apart = np.where(without[jax.tree_util.keystr(path)], 0, apart)
        apart = apart.max()
        if not math.isfinite(apart) or apart > largest:
            largest, where = float(apart), jax.tree_util.keystr(path)
    return largest / scale, where
