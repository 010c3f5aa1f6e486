"""Compile the functions of a run, each once per process; cached by their setup."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh

from jbatch.data.inputs import Inputs, WholeEpoch
from jbatch.devices import meshes, spmd
from jbatch.devices.memory import Memory
from jbatch.devices.parts import WHOLE, OptimizerState
from jbatch.devices.spmd import Executable, Mapped, Whole
from jbatch.devices.sums import whole_sum
from jbatch.plan.layout import Layout, one_group
from jbatch.plan.passes import Accumulate, Apply, Call, Halves, Pass, Passes, Update
from jbatch.step import pure, sharded
from jbatch.step.pure import State, Sums
from jbatch.task.base import Learner, ScoreSums, Task, Tree

MOST_KEPT = 64  # compiled functions per process; a sweep over widths would otherwise keep them all


@dataclass(frozen=True)
class Setup:
    """Everything that decides the compiled functions, except the micro-batch; hashable.

    Runs that differ only in seed or schedule share the compiled functions.
    """

    learner: Learner
    inputs: Inputs
    mesh: Mesh  # an AbstractMesh on paper, see `paper_setup`
    mapping: spmd.Mapping
    updates_per_call: int = 1  # maximum of updates of one pass, or of passes of an update
    optimizer_state: OptimizerState = "replicated"

    @property
    def task(self) -> Task:
        """What is trained."""
        return self.learner.task

    def at(self, batch_size: int) -> "Setup":
        """Return the setup of updates of a batch size."""
        task = self.task.at(batch_size)
        if task is self.task:
            return self
        return replace(self, learner=self.learner._replace(task=task))

    @property
    def devices(self) -> int:
        """The number of devices, D."""
        return self.mesh.size

    @property
    def sharded(self) -> bool:
        """Whether each device holds a part of the optimizer's state; one device holds it whole."""
        return self.optimizer_state == "sharded" and self.devices > 1

    @property
    def how(self) -> jax.ShapeDtypeStruct:
        """The shape of what an update is told, see `how`."""
        return jax.ShapeDtypeStruct((3 + len(self.learner.held),), np.float32)

    @property
    def evaluation_size(self) -> int:
        """Examples per device in one pass of an evaluation."""
        share, group = -(-self.inputs.num_test // self.devices), self.task.evaluation_group
        return -(-min(self.inputs.most_evaluated, share) // group) * group


@dataclass(frozen=True)
class Evaluate:
    """A call that scores one pass of an evaluation."""


def how(
    learning_rate: float, groups: int, batch_size: int, *held: float
) -> npt.NDArray[np.float32]:
    """Pack an update's (rate, number of groups, batch size, held values) into one transfer.

    `held` are the values of the learner's `held`; the array is (3 + their number,) float32.
    """
    return np.array((learning_rate, groups, batch_size, *held), np.float32)


def told(setup: Setup, hows: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Stack the `how` of each update of one call, padded with 0, as the first axis."""
    rows = np.zeros((setup.updates_per_call, *setup.how.shape), np.float32)
    rows[: len(hows)] = hows
    return rows


# ---- functions of one device; of all devices where the optimizer's state is sharded ---------


def _update(
    setup: Setup, layout: Layout, state: State, how: jax.Array, *inputs: Any
) -> tuple[State, jax.Array]:
    if setup.sharded:
        return sharded.update(setup, layout, state, how, *inputs)
    batch = setup.inputs.batch(layout, *inputs)
    # A single part shows no noise: do not ask for it.
    seen = state._replace(noise=None) if layout.devices == 1 else state
    sums = pure.gather(setup.learner, layout, seen, batch)
    after, loss = pure.apply(setup.learner, seen, sums, *how)
    return (after._replace(noise=state.noise) if layout.devices == 1 else after), loss


def _updates(
    setup: Setup, layout: Layout, state: State, hows: jax.Array, *inputs: Any
) -> tuple[State, jax.Array]:
    """Take one update per row of `hows`; rows without groups are padding.

    One program serves any number of updates, so the bits do not depend on how a run is cut into
    calls.
    """
    if setup.updates_per_call == 1:
        return _update(setup, layout, state, hows[0], *inputs)

    source = setup.inputs
    assert isinstance(source, WholeEpoch)  # else `calls` gives one update per call

    def one(number: jax.Array, before: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        here = source.later(number, layout, *inputs)
        return _update(setup, layout, before[0], hows[number], *here)

    start = (state, jnp.float32(0))
    end: tuple[State, jax.Array] = jax.lax.fori_loop(0, (hows[:, 1] > 0).sum(), one, start)
    return end


def _halves(
    setup: Setup, halves: Halves, state: State, hows: jax.Array, *inputs: Any
) -> tuple[State, jax.Array]:
    """Take one update, from the sums over both parts of its examples."""
    first, second = halves.layouts
    batch = setup.inputs.batch(halves.layout, *inputs)
    parts = (
        jax.tree.map(lambda leaf: leaf[: first.size], batch),
        jax.tree.map(lambda leaf: leaf[first.size :], batch),
    )
    sums = pure.gather(setup.learner, first, state, parts[0])
    sums = pure.accumulate(setup.learner, second, state, sums, parts[1])
    return pure.apply(setup.learner, state, sums, *hows[0])


def _accumulate(
    setup: Setup, layout: Layout, state: State, sums: Sums, count: jax.Array, *inputs: Any
) -> tuple[Sums, jax.Array]:
    """Add `count` passes that follow one another; `count` is 1 if `updates_per_call` is."""
    add = partial(_add_passes, setup, layout)
    if setup.sharded:
        return sharded.accumulate(setup, add, state, sums, count, *inputs)
    return add(state, sums, count, *inputs)


def _add_passes(
    setup: Setup, layout: Layout, state: State, sums: Sums, count: jax.Array, *inputs: Any
) -> tuple[Sums, jax.Array]:
    """Add passes on one device; one program serves any number of them, see `_updates`."""
    source = setup.inputs

    def one(sums: Sums, arguments: Sequence[Any]) -> Sums:
        batch = source.batch(layout, *arguments)
        return pure.accumulate(setup.learner, layout, state, sums, batch)

    if setup.updates_per_call == 1:
        sums = one(sums, inputs)
    else:
        assert isinstance(source, WholeEpoch)
        sums = jax.lax.fori_loop(
            0, count, lambda number, sums: one(sums, source.later(number, layout, *inputs)), sums
        )
    return sums, sums.scores["loss"][0]


def _apply(setup: Setup, state: State, sums: Sums, how: jax.Array) -> tuple[State, Sums, jax.Array]:
    if setup.sharded:
        return sharded.apply(setup, state, sums, how)
    state, loss = pure.apply(setup.learner, state, sums, *how)
    return state, jax.tree.map(jnp.zeros_like, sums), loss


def _evaluate(setup: Setup, params: Tree, stats: Tree, *inputs: Any) -> tuple[ScoreSums, jax.Array]:
    """Return the scores of one pass, and its number of examples; the host adds them up."""
    batch, exists = setup.inputs.evaluation_batch(setup.evaluation_size, *inputs)
    scores = setup.task.evaluate(params, stats, batch, exists)
    mine = scores, exists.astype(jnp.float32).sum()
    summed: tuple[ScoreSums, jax.Array] = whole_sum(mine)
    return summed


# ---- compiled -------------------------------------------------------------------------------


@lru_cache(MOST_KEPT)
def initializer(setup: Setup) -> Callable[[np.uint32], State]:
    """Return the jitted function: seed (uint32 scalar) → state, on the devices.

    It runs once. On CPUs, LLVM's optimizations of many draws of random numbers take seconds.
    """
    on_cpu = setup.mesh.devices.flat[0].platform == "cpu"
    jitted = jax.jit(
        partial(pure.init, setup.learner),
        out_shardings=shardings(setup) if setup.sharded else meshes.replicated(setup.mesh),
        compiler_options={"xla_backend_optimization_level": "0"} if on_cpu else None,
    )
    made: Callable[[np.uint32], State] = jax.enable_x64(False)(jitted)
    return made


@lru_cache(MOST_KEPT)
def evaluated(setup: Setup) -> Callable[[State], dict[str, tuple[Tree, Tree]]]:
    """Return the function: state → what to evaluate, see `pure.evaluated`."""
    jitted = jax.jit(
        partial(pure.evaluated, setup.learner), out_shardings=meshes.replicated(setup.mesh)
    )
    made: Callable[[State], dict[str, tuple[Tree, Tree]]] = jax.enable_x64(False)(jitted)
    return made


def places(setup: Setup) -> State:
    """Return where the arrays of the state lie, as PartitionSpecs."""
    if setup.sharded:
        return sharded.places(_state(setup), setup.devices)
    whole: State = jax.tree.map(lambda _: WHOLE, _state(setup))
    return whole


def shardings(setup: Setup) -> State:
    """Return the sharding of each array of the state."""
    found: State = spmd.sharding(setup.mesh, places(setup))
    return found


def state_on_devices(setup: Setup) -> State:
    """Return shapes, dtypes and shardings of the state, to restore a checkpoint."""
    shapes: State = jax.tree.map(
        lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at),
        _state(setup),
        shardings(setup),
    )
    return shapes


@lru_cache(MOST_KEPT)
def zero_sums(setup: Setup) -> Callable[[], Sums]:
    """Return the compiled function: () → sums over no example, one per device."""
    with jax.enable_x64(False):
        jitted = jax.jit(partial(_zero_sums, setup), out_shardings=meshes.split(setup.mesh))
        return jitted.lower().compile()


@lru_cache(MOST_KEPT)
def compiled(setup: Setup, call: Call | Evaluate) -> Executable:
    """Return the compiled function of a call.

    Update: (state, told, *inputs) → (state, the last loss); updates of one pass each, see `told`.
    Halves: the same, of one update.
    Accumulate: (state, sums, count, *inputs) → (sums, loss of each device); `count` (int32) passes
    that follow one another, at most `updates_per_call`.
    Apply: (state, sums, how) → (state, sums over no example, loss).
    Evaluate: (params, stats, *inputs) → (scores, number of examples).
    """
    return _mapped(setup, call).compile()


def memory(setup: Setup, call: Pass) -> Memory:
    """Return the memory of a call's compiled function."""
    return compiled(setup, call).memory


def memory_soon(setup: Setup, call: Pass) -> Memory:
    """Return nearly the same, on a GPU from a compilation without autotuning.

    Autotuning times several kernels for each convolution. At batch 16,000 this takes two minutes of
    a compilation, and the choice of kernels changes the memory of a pass little.
    """
    if setup.mesh.devices.flat[0].platform != "gpu":
        return memory(setup, call)
    return _mapped(setup, call).compile({"xla_gpu_autotune_level": "0"}).memory


def lowered(setup: Setup, call: Call | Evaluate) -> jax.stages.Lowered:
    """Return the lowered function of a call, before it is compiled."""
    return _mapped(setup, call).lower()[0]


def digest(setup: Setup, passes: Mapping[int, Passes]) -> str:
    """Return the SHA-256 of the programs of a run with these passes, before compilation.

    It lowers one pass of each kind. Others differ only by their layouts, which are hashed too.
    """
    kinds = {
        (setup.at(size), type(call)): call
        for size, each in passes.items()
        for call in reversed(each.program)
    }
    hashed = hashlib.sha256(repr(sorted(passes.items(), key=lambda item: item[0])).encode())
    hashed.update(lowered(setup, Evaluate()).as_text().encode())
    for (its, _), call in kinds.items():
        hashed.update(lowered(its, call).as_text().encode())
    return hashed.hexdigest()


@lru_cache(MOST_KEPT)
def identity(setup: Setup) -> str:
    """Return the SHA-256 of an update's program for one device and one ghost batch.

    It covers network, loss, augmentation and optimizer, but not how an update is split.
    """
    alone = meshes.make_mesh(setup.mesh.local_devices[:1])
    one = replace(setup, mesh=alone, mapping="shard_map", updates_per_call=1)
    text = lowered(one, Update(one_group(setup.task.group))).as_text()
    return hashlib.sha256(text.encode()).hexdigest()


def _mapped(setup: Setup, call: Call | Evaluate) -> Mapped | Whole:
    """Return a call's function for the devices, with its arguments and where they lie."""
    state, inputs = _state(setup), setup.inputs
    mapped: Callable[..., Mapped | Whole] = partial(Mapped, mapping=setup.mapping)
    at: Any = False
    if setup.sharded and not isinstance(call, Evaluate):
        mapped, at = Whole, places(setup)
    match call:
        case Update(layout) | Halves(layout):
            hows = jax.ShapeDtypeStruct((setup.updates_per_call, *setup.how.shape), np.float32)
            function = (
                partial(_updates, setup, layout)
                if isinstance(call, Update)
                else partial(_halves, setup, call)
            )
            return mapped(
                function,
                setup.mesh,
                arguments=(state, hows, *inputs.shapes(layout)),
                per_device=(at, False, *inputs.per_device),
                per_device_out=(at, False),
                donate=(0,),
            )
        case Accumulate(layout):
            count = jax.ShapeDtypeStruct((), np.int32)
            return mapped(
                partial(_accumulate, setup, layout),
                setup.mesh,
                arguments=(state, _sums(setup), count, *inputs.shapes(layout)),
                per_device=(at, True, False, *inputs.per_device),
                per_device_out=(True, True),
                donate=(1,),
            )
        case Apply():
            return mapped(
                partial(_apply, setup),
                setup.mesh,
                arguments=(state, _sums(setup), setup.how),
                per_device=(at, True, False),
                per_device_out=(at, True, False),
                donate=(0, 1),
            )
        case Evaluate():
            shapes = inputs.evaluation_shapes(setup.evaluation_size, setup.devices)
            return mapped(
                partial(_evaluate, setup),
                setup.mesh,
                arguments=(state.params, state.stats, *shapes),
                per_device=(False, False, *inputs.evaluation_per_device),
                per_device_out=(False, False),
            )


def _state(setup: Setup) -> State:
    return pure.state_shapes(setup.learner)


def _sums(setup: Setup) -> Sums:
    placed = partial(jax.ShapeDtypeStruct, sharding=meshes.split(setup.mesh))
    shapes = jax.eval_shape(partial(_zero_sums, setup))
    sums: Sums = jax.tree.map(lambda leaf: placed(leaf.shape, leaf.dtype), shapes)
    return sums


def _zero_sums(setup: Setup) -> Sums:
    sums: Sums = jax.tree.map(
        lambda leaf: jnp.zeros((setup.devices, *leaf.shape), leaf.dtype),
        jax.eval_shape(partial(pure.no_sums, setup.learner), _state(setup)),
    )
    return sums
