"""Compute a trained network's loss over its training set, as a function of its parameters."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.flatten_util import ravel_pytree

from jbatch.data.batch import Example
from jbatch.data.resident import MOST_IN_FLIGHT, ResidentData, some
from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.experiment.described import describe
from jbatch.experiment.experiment import Experiment
from jbatch.run.newest import newest_of
from jbatch.step.driver import InFlight
from jbatch.task import classifier
from jbatch.task.base import Tree
from jbatch.task.classifier import Classifier

AT_ONCE = 500  # micro-batch, at most: examples per device and pass

Sums = TypeVar("Sums")  # over examples: an array or a tuple of arrays


class Point(NamedTuple):
    """Hold a network's parameters and running statistics."""

    params: Tree
    stats: Tree  # running statistics of norm layers; only `line` changes them


class Landscape:
    """Compute a run's cross-entropy with running statistics, no dropout and no label smoothing."""

    def __init__(self, experiment: Experiment, directory: Path, examples: int | None = None):
        """Load the newest checkpoint in `directory` and the first `examples` training examples.

        Raises:
            Mistake: if there is no checkpoint, or the dataset is not in memory.
        """
        newest = newest_of(experiment, directory)
        if not isinstance(newest.data, ResidentData):
            raise Mistake("this run streams its dataset: give a run whose dataset is in memory")
        task = newest.setup.task
        if not isinstance(task, Classifier):
            raise Mistake("this is no run of Classify with a network of jbatch: give one of those")
        train, count = newest.data.dataset.train, newest.data.inputs.num_examples
        if examples is not None and not 0 < examples <= count:
            raise Mistake(f"--examples is {examples}: give 1 to {count:,}")
        self.count = count if examples is None else examples
        self.point = Point(newest.state.params, newest.state.stats)
        flat, self._unravel = ravel_pytree(self.point.params)
        self.x = np.asarray(flat, np.float64)
        # Always float32: the boxes are smaller than the spacing of bfloat16 numbers.
        self._task = replace(task, task=replace(task.task, dtype="float32"))
        self._setup, self.experiment = newest.setup, experiment
        self.model, self.normalize = task.task.model, task.task.normalize
        self._size = min(AT_ONCE, experiment.micro_batch or AT_ONCE) * newest.setup.devices
        seen = jax.tree.map(lambda leaf: leaf[: self.count], train)
        self._seen = jax.device_put(seen, meshes.replicated(newest.setup.mesh))
        self._values = self._summed(self._pass)
        self._gradient = self._summed(jax.value_and_grad(self._pass_loss))
        self._product = self._summed(self._pass_product)

    def value(self, point: Point) -> tuple[float, float]:
        """Return (loss, accuracy) at other parameters of the same network."""
        loss, right = self._values(point.params, point.stats, self._seen)
        return float(loss) / self.count, float(right) / self.count

    def value_and_gradient(
        self, x: npt.NDArray[np.float64]
    ) -> tuple[float, npt.NDArray[np.float64]]:
        """Return (loss, gradient) at x; x and gradient are (n,) float64, computed in float32."""
        loss, gradient = self._gradient(jnp.float32(x), self.point.stats, self._seen)
        return float(loss) / self.count, np.asarray(gradient, np.float64) / self.count

    def hessian_times(self, vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Multiply the Hessian at the run's own parameters by a vector, (n,) float64."""
        arguments = jnp.float32(self.x), self.point.stats, self._seen, jnp.float32(vector)
        return np.asarray(self._product(*arguments), np.float64) / self.count

    def _pass_product(
        self, flat: jax.Array, stats: Any, seen: Example, vector: jax.Array, start: jax.Array
    ) -> jax.Array:
        gradient = jax.grad(lambda at: self._pass_loss(at, stats, seen, start))
        product: jax.Array = jax.jvp(gradient, (flat,), (vector,))[1]
        return product

    def _pass_loss(self, flat: jax.Array, *rest: Any) -> jax.Array:
        return self._pass(self._unravel(flat), *rest)[0]

    def _pass(
        self, params: Any, stats: Any, seen: Example, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return (sum of losses, number right) over the examples of one pass."""
        batch, exists = some(seen, start, self._size)
        split, labels = meshes.split(self._setup.mesh), batch.examples["label"]
        images = self._task.images(batch.examples["image"], None)
        images = jax.lax.with_sharding_constraint(images, split)
        (logits,), _ = classifier.forward(self._task, params, stats, images, None)
        weight = exists.astype(jnp.float32)
        losses = classifier.cross_entropy(logits, labels, 0.0)
        return (losses * weight).sum(), (classifier.correct(logits, labels) * weight).sum()

    def _summed(self, function: Callable[..., Sums]) -> Callable[..., Sums]:
        """Sum the results of `function` over all passes; its last argument is a pass's start.

        The loop is on the host, because XLA's convolutions inside a compiled loop are far slower on
        CPUs.
        """

        @jax.jit
        def one(before: Any, start: np.int32, *arguments: Any) -> Any:
            return jax.tree.map(jnp.add, before, function(*arguments, start))

        def summed(*arguments: Any) -> Sums:
            with jax.enable_x64(False):
                shapes = jax.eval_shape(function, *arguments, jnp.int32(0))
                total: Sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
                in_flight = InFlight(MOST_IN_FLIGHT)
                for start in range(0, self.count, self._size):
                    total = one(total, np.int32(start), *arguments)
                    in_flight.add(jax.tree.leaves(total)[0])
                return total

        return summed


def line(small: Landscape, large: Landscape, alphas: Sequence[float]) -> list[tuple[float, float]]:
    """Return (loss, accuracy) at α · large + (1 − α) · small for each α.

    Running statistics are interpolated too. Variances are interpolated in their logarithms, since a
    straight line would go below 0 beyond the two runs.

    Raises:
        Mistake: if the two runs differ in network or data.
    """
    shapes = [jax.tree.map(jnp.shape, each.point) for each in (small, large)]
    kinds = [(type(each.model), type(getattr(each.model, "norm", None))) for each in (small, large)]
    if shapes[0] != shapes[1] or kinds[0] != kinds[1]:
        raise Mistake("the two runs are of two networks: give two runs of the same network")
    for name in ("data", "normalize"):
        here, there = (
            describe(each.experiment.data if name == "data" else each.normalize)
            for each in (small, large)
        )
        if here != there:
            raise Mistake(f"the two runs differ in {name}: give two runs on the same examples")

    def between(alpha: float) -> Point:
        mixed: Point = jax.tree_util.tree_map_with_path(
            partial(_mixed, alpha), small.point, large.point
        )
        return mixed

    return [small.value(between(alpha)) for alpha in alphas]


def _mixed(alpha: float, path: tuple[Any, ...], here: jax.Array, there: jax.Array) -> jax.Array:
    shares: tuple[jax.Array, jax.Array] = jnp.float32(1 - alpha), jnp.float32(alpha)
    if jax.tree_util.keystr(path[-1:], simple=True) == "var":
        return here ** shares[0] * there ** shares[1]
    return shares[0] * here + shares[1] * there
