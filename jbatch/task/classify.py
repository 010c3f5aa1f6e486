"""Image classification: a network with one or two heads, and its cross-entropy."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.models.batch import Batch
from jbatch.models.build import build
from jbatch.models.norm import Pass
from jbatch.models.specs import GhostBatchNorm, Model, ghost_batch
from jbatch.plan.layout import Layout
from jbatch.task.base import Scores, Tree

HEAD_WEIGHTS = (1.0, 0.4)  # of the main and the auxiliary head's loss (Szegedy et al.)


@dataclass(frozen=True)
class Classify:
    """A network that tells classes apart, trained by cross-entropy."""

    model: Model
    label_smoothing: float
    dtype: str  # the network's computation; parameters, statistics and sums are float32
    input_shape: tuple[int, ...]  # (H, W, C)
    num_classes: int

    metrics = ("accuracy",)

    @property
    def group(self) -> int | None:
        """g: examples that share batch norm statistics; None without batch norm."""
        return ghost_batch(self.model)

    def init(self, seed: jax.Array) -> tuple[Tree, Tree]:
        """Return the initial (parameters, running statistics) from a uint32 seed."""
        return split(network_of(self, seed))[1:]

    def sums(self, params: Tree, stats: Tree, batch: Batch, layout: Layout) -> tuple[Scores, Tree]:
        """Return the scores of a training pass, and the statistics of its ghost batches."""
        training = Pass(layout, cast(jax.Array, batch.keys))  # None in evaluation only
        heads, left = forward(self, params, stats, batch.images, training)
        losses = sum(
            weight * cross_entropy(logits, batch.labels, self.label_smoothing)
            for weight, logits in zip(HEAD_WEIGHTS, heads, strict=False)
        )
        assert isinstance(losses, jax.Array)  # there is at least one head
        right, count = correct(heads[0], batch.labels), jnp.float32(layout.per_device)
        return {"loss": (losses.sum(), count), "accuracy": (right.sum(), count)}, left

    def running(self, stats: Tree, sums: Tree, groups: jax.Array) -> Tree:
        """Return running statistics after n more ghost batches: dⁿ · old + (1 − dⁿ) · their mean.

        They decay per ghost batch, not per update. So their memory in examples stays the same as
        the batch grows.
        """
        if not isinstance(self.model.norm, GhostBatchNorm):
            return stats
        old = jnp.float32(self.model.norm.decay) ** groups
        new: Tree = jax.tree.map(
            lambda running, total: old * running + (1 - old) * total / groups, stats, sums
        )
        return new

    def evaluate(self, params: Tree, stats: Tree, batch: Batch, exists: jax.Array) -> Scores:
        """Return loss (without label smoothing) and accuracy of the examples that exist."""
        (logits,), _ = forward(self, params, stats, batch.images, None)
        losses, right = cross_entropy(logits, batch.labels, 0.0), correct(logits, batch.labels)
        loss, accuracy = (jnp.where(exists, each, 0).sum() for each in (losses, right))
        count = exists.astype(jnp.float32).sum()
        return {"loss": (loss, count), "accuracy": (accuracy, count)}


def forward(
    task: Classify, params: Tree, stats: Tree, images: jax.Array, training: Pass | None
) -> tuple[tuple[jax.Array, ...], Tree]:
    """Compute the logits (B, classes) of each head, and the norms' statistics.

    In training the statistics are sums over this device's ghost batches, and an auxiliary head may
    follow the first. If `training` is None, the network evaluates with the running statistics
    `stats` and returns them unchanged.
    """
    network = nnx.merge(graph(task), nnx.State(params), nnx.State(stats))
    with _precision(task):
        heads = network(images.astype(task.dtype), training)
    return heads if isinstance(heads, tuple) else (heads,), split(network)[2]


def _precision(task: Classify) -> AbstractContextManager[None]:
    """Keep float32 products in float32: by default TPUs and GPUs round the factors."""
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # set at run time
    exact = "highest" if task.dtype == "float32" and told is None else told
    precision: AbstractContextManager[None] = jax.default_matmul_precision(exact)
    return precision


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:
    """Compute −Σ target · log softmax per example, (B,) float32.

    Targets are (1−α) · one-hot + α/classes, with α = `smoothing`.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    right = jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    if not smoothing:
        return -right
    return -(1 - smoothing) * right - smoothing * log_probabilities.mean(1)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return 1 per example whose largest logit is the label's, else 0: (B,) float32."""
    return (logits.argmax(1) == labels).astype(jnp.float32)


def network_of(task: Classify, seed: int | jax.Array) -> nnx.Module:
    """Build the network with initial parameters drawn from a uint32 seed."""
    rngs = nnx.Rngs(jax.random.key(seed, impl="threefry2x32"))
    return build(task.model, task.input_shape, task.num_classes, rngs)


def split(network: nnx.Module) -> tuple[nnx.GraphDef[nnx.Module], Tree, Tree]:
    """Split a network: structure, parameters, running statistics (both plain nested dicts)."""
    graph, *states = nnx.split(network, nnx.Param, nnx.BatchStat)
    params, stats = states
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


@cache
def graph(task: Classify) -> nnx.GraphDef[nnx.Module]:
    """Return the network's structure without arrays; raise Mistake if it cannot be built."""
    with jax.enable_x64(False):
        return nnx.split(nnx.eval_shape(lambda: network_of(task, 0)), nnx.Param, nnx.BatchStat)[0]
