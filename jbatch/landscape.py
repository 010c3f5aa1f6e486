"""The loss of a trained network over its training set, as a function of its parameters."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec

from jbatch import step
from jbatch.data.dataset import Split
from jbatch.data.resident import Resident, ResidentData, evaluation_batch
from jbatch.errors import Mistake
from jbatch.evaluate import newest_of
from jbatch.experiment import Experiment
from jbatch.layout import AXIS

AT_ONCE = 500  # examples a device and pass


class Point(NamedTuple):
    """A network's numbers."""

    params: dict
    stats: dict  # running statistics of norms, which stay as they are but on a line


class Landscape:
    """A run's loss, cross-entropy without dropout and label smoothing, by running statistics."""

    def __init__(self, experiment: Experiment, directory: Path, examples: int | None = None):
        """Of the newest checkpoint in `directory`, over the first `examples` of the training set.

        Raises:
            Mistake: if there is no checkpoint, or the data are not in memory.
        """
        newest = newest_of(experiment, directory)
        if not isinstance(newest.data, ResidentData):
            raise Mistake("the loss's landscape is for data in memory, and these are streamed")
        train = newest.data.dataset.train
        if examples is not None and not 0 < examples <= len(train.labels):
            raise Mistake(f"--examples is {examples}: give 1 to {len(train.labels):,}")
        self.count = len(train.labels) if examples is None else examples
        self.point = Point(newest.state.params, newest.state.stats)
        flat, self._unravel = ravel_pytree(self.point.params)
        self.x = np.asarray(flat, np.float64)
        self._setup = newest.setup
        seen = Split(*(part[: self.count] for part in train))
        self._resident = newest.data.placed(seen, newest.setup.mesh)
        self._values = jax.jit(self._summed(self._pass))
        self._gradient = jax.jit(self._summed(jax.value_and_grad(self._pass_loss)))
        self._product = jax.jit(self._hessian_times)

    def value(self, point: Point) -> tuple[float, float]:
        """(loss, accuracy) at other numbers of the same network."""
        loss, right = self._values(point.params, point.stats, self._resident)
        return float(loss) / self.count, float(right) / self.count

    def value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient at parameters, both (n,) float64; computed in float32."""
        loss, gradient = self._gradient(jnp.float32(x), self.point.stats, self._resident)
        return float(loss) / self.count, np.asarray(gradient, np.float64) / self.count

    def hessian_times(self, vector: np.ndarray) -> np.ndarray:
        """The Hessian at the run's own parameters times a vector, both (n,) float64."""
        arguments = jnp.float32(self.x), self.point.stats, self._resident, jnp.float32(vector)
        return np.asarray(self._product(*arguments), np.float64) / self.count

    def _hessian_times(self, flat, stats, resident, vector):
        def product(flat, *rest):
            gradient = jax.grad(lambda at: self._pass_loss(at, *rest))
            return jax.jvp(gradient, (flat,), (vector,))[1]

        return self._summed(product)(flat, stats, resident)

    def _pass_loss(self, flat, *rest) -> jax.Array:
        return self._pass(self._unravel(flat), *rest)[0]

    def _pass(self, params, stats, resident: Resident, start) -> tuple[jax.Array, jax.Array]:
        """(sum of losses, number right) of the examples of one pass."""
        size = AT_ONCE * self._setup.devices
        batch, exists = evaluation_batch(resident, start, size, self._setup.inputs.normalize)
        split = NamedSharding(self._setup.mesh, PartitionSpec(AXIS))
        images = jax.lax.with_sharding_constraint(batch.images, split)
        (logits,), _ = step.forward(self._setup.task, params, stats, images, None)
        weight = exists.astype(jnp.float32)
        losses = step.cross_entropy(logits, batch.labels, 0.0)
        return (losses * weight).sum(), (step.correct(logits, batch.labels) * weight).sum()

    def _summed(self, function: Callable) -> Callable:
        """The sum of what `function` gives for each pass, whose start is its last argument."""
        starts = range(0, self.count, AT_ONCE * self._setup.devices)

        def summed(*arguments):
            def one(before, start):
                return jax.tree.map(jnp.add, before, function(*arguments, start)), None

            shapes = jax.eval_shape(function, *arguments, jnp.int32(0))
            zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            return jax.lax.scan(one, zero, jnp.array(starts, jnp.int32))[0]

        return summed


def line(small: Landscape, large: Landscape, alphas: Sequence[float]) -> list[tuple[float, float]]:
    """(loss, accuracy) at α · large + (1 − α) · small, running statistics too, for each α.

    Mistake if the two are not of one network.
    """
    shapes = [jax.tree.map(jnp.shape, each.point) for each in (small, large)]
    if shapes[0] != shapes[1]:
        raise Mistake("the two runs are of two networks: a line lies between runs of one")

    def between(alpha: float) -> Point:
        mixed = lambda a, b: jnp.float32(1 - alpha) * a + jnp.float32(alpha) * b  # noqa: E731
        return jax.tree.map(mixed, small.point, large.point)

    return [small.value(between(alpha)) for alpha in alphas]
