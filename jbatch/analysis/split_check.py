"""Check that an experiment's updates do not depend on how they are split, saved or evaluated."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jbatch.analysis.gradients import difference, moved, observed, rounding_steps
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
# Of an evaluation's score, on one device and on several: sums in another order differ by about 1e-7
# of themselves in float32 and by 4e-3 in bfloat16.
TOLERANCES = {"float32": 2e-5, "bfloat16": 2e-2}


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
    experiment = counted(replace(experiment, micro_batch=None))
    plan = _first_of(experiment.make_plan())
    check(experiment, plan, 1)
    setup, data = make_setup(experiment, plan, devices[:1])
    held_out = validation_of(setup, data)
    # From here on, the state holds each update's gradient.
    learner = observed(setup.learner)
    setup = replace(setup, learner=learner)
    rows = [plan.at(update) for update in range(plan.num_updates)]
    here = _Trainer(setup, data, plan, rows, experiment.seed)
    states = here.trained()
    yield (moves := _moves(states))
    yield Checked("dtypes", True, _dtypes(states[0]))
    if not moves.passed:
        return
    near = [moved(state) for state in states[:-1]]
    rounded = here.updated(Split(1, 1), near)
    for split in _splits(setup, rows, len(devices)):
        yield here.compared(split, devices, states, rounded)
    yield here.steps(states, near, rounded)
    yield here.resumed(states[-1])
    yield here.evaluated(states[-1], devices, Evaluated(setup, data))
    if held_out is not None:
        held_out = held_out._replace(setup=replace(held_out.setup, learner=learner))
        yield here.evaluated(states[-1], devices, held_out, " on the validation set")


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

    @contextmanager
    def _driver(
        self, split: Split, devices: Sequence[jax.Device] = (), first: int = 0
    ) -> Iterator[tuple[Setup, Driver]]:
        setup = self._setup
        if split.devices > 1:
            setup = replace(setup, mesh=meshes.make_mesh(list(devices[: split.devices])))
        passes = _passes(setup, self._rows, split)
        assert passes is not None  # `_splits` yields those that can be
        with (
            closing(Ahead(setup, passes, evaluated=())) as ahead,
            closing(self._data.feed(setup.mesh, self._seed, self._plan, passes, first)) as feed,
        ):
            yield setup, Driver(setup, ahead, feed)

    def trained(self) -> list[State]:
        """Return the state before and after each update, on the host, on one device in one pass."""
        with self._driver(Split(1, 1)) as (setup, driver):
            state = programs.initializer(setup)(np.uint32(self._seed))
            states = [_on_host(state)]
            for row in self._rows:
                state = driver.update(state, [row])
                states.append(_on_host(state))
        return states

    def updated(
        self, split: Split, states: Sequence[State], devices: Sequence[jax.Device] = ()
    ) -> list[State]:
        """Return the state after each update, from the state before it, on the host."""
        found = []
        with self._driver(split, devices) as (setup, driver):
            for before, row in zip(states, self._rows, strict=True):
                placed = jax.device_put(before, programs.shardings(setup))
                found.append(_on_host(driver.update(placed, [row])))
        return found

    def compared(
        self,
        split: Split,
        devices: Sequence[jax.Device],
        states: Sequence[State],
        rounded: Sequence[State],
    ) -> Checked:
        """Compare each update with the same in another split, both from one state."""
        others = self.updated(split, states[:-1], devices)
        most = max(
            (
                difference(*each, self._half)
                for each in zip(states[1:], others, rounded, strict=True)
            ),
            key=lambda found: found.ratio,
        )
        found = (
            f"{most.where} differs by {most.share:.1e} of its size, and rounding explains "
            f"{most.allowed:.1e}"
        )
        if most.ratio > 1:
            found += (
                ": its examples see more than themselves and their group, draw random numbers from "
                "another key than the one that they are given, or do not add up to a sum"
            )
        return Checked(str(split), most.ratio <= 1, found)

    def steps(
        self, states: Sequence[State], near: Sequence[State], rounded: Sequence[State]
    ) -> Checked:
        """Check that no parameter takes steps that are nothing but rounding."""
        for each in zip(states[1:], rounded, states[:-1], near, strict=True):
            if (where := rounding_steps(*each, self._half)) is not None:
                return Checked(
                    "optimizer",
                    False,
                    f"{where} takes steps by rounding alone, so they differ between splits: its "
                    "gradient is nothing but rounding, which Adam and its kin turn into full "
                    "steps. A bias before a norm is such a parameter: leave it out "
                    "(use_bias=False)",
                )
        return Checked("optimizer", True, "no parameter takes steps by rounding alone")

    @cached_property
    def _half(self) -> bool:
        """Whether the network computes in half precision."""
        size = self._rows[0].batch_size
        [call] = cut([size], 1, self._setup.task.group, None)[size].program
        return "f16>" in programs.lowered(self._setup, call).as_text()

    def resumed(self, whole: State) -> Checked:
        """Save after every update, and go on from what was saved."""
        setup = self._setup
        state = programs.initializer(setup)(np.uint32(self._seed))
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(Checkpoints(Path(folder) / "checkpoints", lambda _: None)) as checkpoints,
        ):
            for number, row in enumerate(self._rows):
                with self._driver(Split(1, 1), first=number) as (_, driver):
                    state = driver.update(state, [row])
                checkpoints.save(number + 1, state)
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


def _on_host(state: State) -> State:
    copied: State = jax.tree.map(np.array, jax.device_get(state))
    return copied


def _moves(states: Sequence[State]) -> Checked:
    """Check that the parameters move and stay finite."""
    last = jax.tree_util.tree_flatten_with_path(states[-1].params)[0]
    for path, leaf in last:
        if not np.isfinite(np.asarray(leaf, np.float32)).all():
            where = jax.tree_util.keystr(path)
            return Checked(
                "finite gradients",
                False,
                f"{where} is NaN or infinite: lower the learning rate, "
                "or look for a logarithm or a root of 0 in the loss",
            )
    first = jax.tree.leaves(states[0].params)
    if all(np.array_equal(old, new) for old, (_, new) in zip(first, last, strict=True)):
        return Checked(
            "finite gradients",
            False,
            "no parameter moves: the loss does not depend on them, or the learning rate is 0",
        )
    return Checked("finite gradients", True, f"after {int(states[-1].taken)} updates")


def _dtypes(state: State) -> str:
    counts: dict[str, int] = {}
    for leaf in jax.tree.leaves(state.params):
        counts[leaf.dtype.name] = counts.get(leaf.dtype.name, 0) + leaf.size
    return "parameters: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())
