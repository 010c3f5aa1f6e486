"""Image classification: a network with one or two heads, and its cross-entropy."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.models.build import build
from jbatch.models.norm import Pass
from jbatch.models.specs import Model, ghost_batch
from jbatch.optim import Optimizer

HEAD_WEIGHTS = (1.0, 0.4)  # of the losses of the head and the auxiliary one (Szegedy et al.)


@dataclass(frozen=True)
class Task:
    """What is trained; hashable, so that a compiled step can be found by it."""

    model: Model
    optimizer: Optimizer
    momentum: float
    label_smoothing: float
    dtype: str  # that the network computes in; parameters, statistics and sums are float32
    input_shape: tuple[int, ...]  # (H, W, C)
    num_classes: int

    @property
    def group(self) -> int | None:
        """g, examples of an update that see each other; None if none do."""
        return ghost_batch(self.model)


def forward(task: Task, params, stats, images: jax.Array, training: Pass | None):
    """Logits (B, classes) of each head, and the statistics that norms leave behind.

    In training the statistics are sums over this device's ghost batches, and there may be an
    auxiliary head after the first. With None, evaluation by the running statistics `stats`, which
    come back unchanged.
    """
    network = nnx.merge(graph(task), nnx.State(params), nnx.State(stats))
    with _precision(task):
        heads = network(images.astype(task.dtype), training)
    return heads if isinstance(heads, tuple) else (heads,), split(network)[2]


def _precision(task: Task):
    """Products of float32 in float32: TPUs and GPUs would round their factors, unless told."""
    told = jax.config.jax_default_matmul_precision
    exact = "highest" if task.dtype == "float32" and told is None else told
    return jax.default_matmul_precision(exact)


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:
    """Per example, (B,) float32: − Σ target · log softmax; targets (1−α)·one-hot + α/classes."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    right = jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    if not smoothing:
        return -right
    return -(1 - smoothing) * right - smoothing * log_probabilities.mean(1)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Per example, (B,) float32: 1 where the largest logit is the label's."""
    return (logits.argmax(1) == labels).astype(jnp.float32)


def network_of(task: Task, seed) -> nnx.Module:
    """The network with its initial parameters, from a uint32 seed."""
    rngs = nnx.Rngs(jax.random.key(seed, impl="threefry2x32"))
    return build(task.model, task.input_shape, task.num_classes, rngs)


def split(network: nnx.Module):
    """(structure, parameters, running statistics), the two as plain nested dicts."""
    graph, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


@cache
@jax.enable_x64(False)
def graph(task: Task):
    """The network's structure, without its arrays; Mistake if the network cannot be made."""
    return nnx.split(nnx.eval_shape(lambda: network_of(task, 0)), nnx.Param, nnx.BatchStat)[0]
