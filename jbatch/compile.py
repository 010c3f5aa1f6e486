"""The compiled functions of a run, made ahead of their phase in the background."""

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jbatch import parallel, step
from jbatch.data.augment import Augment
from jbatch.data.resident import Resident, evaluation_batch, training_batch
from jbatch.layout import AXIS, Layout
from jbatch.step import State, Sums, Task, Totals


@dataclass(frozen=True)
class Setup:
    """All that decides the compiled functions but the micro-batch; hashable.

    Runs that differ in seed or schedule alone share them.
    """

    task: Task
    augment: Augment
    num_train: int
    num_test: int
    mesh: Mesh
    mapping: parallel.Mapping

    @property
    def devices(self) -> int:
        """D."""
        return self.mesh.size

    @property
    def evaluation_size(self) -> int:
        """Examples a device takes in one pass of an evaluation."""
        return min(256, -(-self.num_test // self.devices))


# What the host says of an update or a pass, as two small arrays: each is one transfer.
def where(epoch: int, place: int) -> np.ndarray:
    """(2,) uint32: epoch, and place in it of the pass's first example."""
    return np.array((epoch, place), np.uint32)


def how(learning_rate: float, batch_size: int, ghost_batches: int) -> np.ndarray:
    """(3,) float32: rate, B and number of ghost batches of the update."""
    return np.array((learning_rate, batch_size, ghost_batches), np.float32)


# ---- functions of one device ----------------------------------------------------------------


def _batch(setup: Setup, layout: Layout, resident, order, seed, where):
    places = where[1] + layout.places(jax.lax.axis_index(AXIS)).astype(jnp.uint32)
    return training_batch(resident, order, seed, where[0], places, setup.augment)


def _update(setup: Setup, layout: Layout, state, resident, order, seed, where, how):
    batch = _batch(setup, layout, resident, order, seed, where)
    sums = step.gather(setup.task, layout, state, batch)
    return step.apply(setup.task, state, sums, *how)


def _accumulate(setup: Setup, layout: Layout, state, sums, resident, order, seed, where):
    batch = _batch(setup, layout, resident, order, seed, where)
    sums = step.accumulate(setup.task, layout, state, sums, batch)
    return sums, sums.loss


def _apply(setup: Setup, state, sums, how):
    state, loss = step.apply(setup.task, state, sums, *how)
    return state, jax.tree.map(jnp.zeros_like, sums), loss


def _evaluate(setup: Setup, params, stats, resident, start):
    size = setup.evaluation_size
    mine = start + jax.lax.axis_index(AXIS) * size
    batch, exists = evaluation_batch(resident, mine, size)
    logits, _ = step.forward(setup.task, params, stats, batch.images, None)
    weight = exists.astype(jnp.float32)
    totals = Totals(
        loss=(step.cross_entropy(logits, batch.labels, 0.0) * weight).sum(),
        correct=(step.correct(logits, batch.labels) * weight).sum(),
        examples=weight.sum(),
    )
    return (jax.lax.psum(totals, AXIS),)


# ---- compiled -------------------------------------------------------------------------------


@cache
def initializer(setup: Setup):
    """Seed (uint32 scalar) → state on every device, jitted."""
    return jax.jit(partial(step.init, setup.task), out_shardings=parallel.replicated(setup.mesh))


@cache
def zero_sums(setup: Setup):
    """State → sums of no example, one a device, jitted."""

    def zeros(state):
        return jax.tree.map(
            lambda leaf: jnp.zeros((setup.devices, *leaf.shape), leaf.dtype), step.no_sums(state)
        )

    return jax.jit(zeros, out_shardings=parallel.split(setup.mesh))


@cache
def update(setup: Setup, layout: Layout):
    """(state, resident, order, seed, where, how) → (state, loss): an update in one pass."""
    return parallel.compile_over_devices(
        partial(_update, setup, layout),
        setup.mesh,
        setup.mapping,
        (_state(setup), *_source(setup), _WHERE, _HOW),
        per_device=(False,) * 6,
        per_device_out=(False, False),
        donate=(0,),
    )


@cache
def accumulate(setup: Setup, layout: Layout):
    """(state, sums, resident, order, seed, where) → (sums, loss): one pass of several."""
    return parallel.compile_over_devices(
        partial(_accumulate, setup, layout),
        setup.mesh,
        setup.mapping,
        (_state(setup), _sums(setup), *_source(setup), _WHERE),
        per_device=(False, True, False, False, False, False),
        per_device_out=(True, True),
        donate=(1,),
    )


@cache
def apply(setup: Setup):
    """(state, sums, how) → (state, sums of no example, loss): the end of an update."""
    return parallel.compile_over_devices(
        partial(_apply, setup),
        setup.mesh,
        setup.mapping,
        (_state(setup), _sums(setup), _HOW),
        per_device=(False, True, False),
        per_device_out=(False, True, False),
        donate=(0, 1),
    )


@cache
def evaluate(setup: Setup):
    """(params, stats, resident, start) → (totals,): of one pass from `start` on."""
    state = _state(setup)
    start = jax.ShapeDtypeStruct((), np.int32)
    return parallel.compile_over_devices(
        partial(_evaluate, setup),
        setup.mesh,
        setup.mapping,
        (state.params, state.stats, _resident(setup, setup.num_test), start),
        per_device=(False,) * 4,
        per_device_out=(False,),
    )


_WHERE = jax.ShapeDtypeStruct((2,), np.uint32)
_HOW = jax.ShapeDtypeStruct((3,), np.float32)


def _state(setup: Setup) -> State:
    return jax.eval_shape(partial(step.init, setup.task), jax.ShapeDtypeStruct((), np.uint32))


def _sums(setup: Setup) -> Sums:
    return jax.eval_shape(zero_sums(setup), _state(setup))


def _resident(setup: Setup, num_examples: int) -> Resident:
    shape = setup.task.input_shape
    return Resident(
        images=jax.ShapeDtypeStruct((num_examples, *shape), np.uint8),
        labels=jax.ShapeDtypeStruct((num_examples,), np.int32),
        mean=jax.ShapeDtypeStruct(shape[-1:], np.float32),
        scale=jax.ShapeDtypeStruct(shape[-1:], np.float32),
    )


def _source(setup: Setup):
    order = jax.ShapeDtypeStruct((setup.num_train,), np.int32)
    return _resident(setup, setup.num_train), order, jax.ShapeDtypeStruct((), np.uint32)
