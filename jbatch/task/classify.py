"""Image classification: a network with one or two heads, and its cross-entropy."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jbatch.models.build import build
from jbatch.models.norm import Pass
from jbatch.models.specs import Model, ghost_batch
from jbatch.optim import Optimizer

Tree = dict[str, Any]  # arrays in nested dicts

HEAD_WEIGHTS = (1.0, 0.4)  # of the main and the auxiliary head's loss (Szegedy et al.)


@dataclass(frozen=True)
class Task:
    """The network to train and its loss; hashable, as a key to its compiled steps."""

    model: Model
    optimizer: Optimizer
    momentum: float
    label_smoothing: float
    dtype: str  # the network's computation; parameters, statistics and sums are float32
    input_shape: tuple[int, ...]  # (H, W, C)
    num_classes: int

    @property
    def group(self) -> int | None:
        """g: examples of an update that see each other; None if none do."""
        return ghost_batch(self.model)


def forward(
    task: Task, params: Tree, stats: Tree, images: jax.Array, training: Pass | None
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


def _precision(task: Task) -> AbstractContextManager[None]:
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


def network_of(task: Task, seed: int | jax.Array) -> nnx.Module:
    """Build the network with initial parameters drawn from a uint32 seed."""
    rngs = nnx.Rngs(jax.random.key(seed, impl="threefry2x32"))
    return build(task.model, task.input_shape, task.num_classes, rngs)


def split(network: nnx.Module) -> tuple[nnx.GraphDef[nnx.Module], Tree, Tree]:
    """Split a network: structure, parameters, running statistics (both plain nested dicts)."""
    graph, *states = nnx.split(network, nnx.Param, nnx.BatchStat)
    params, stats = states
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


@cache
def graph(task: Task) -> nnx.GraphDef[nnx.Module]:
    """Return the network's structure without arrays; raise Mistake if it cannot be built."""
    with jax.enable_x64(False):
        return nnx.split(nnx.eval_shape(lambda: network_of(task, 0)), nnx.Param, nnx.BatchStat)[0]
