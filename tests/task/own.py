"""Tasks as a user would write them: networks, losses, optimizers and data of many kinds."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx

from jbatch import Arrays, Classify, Functions, Network, Scores, Task
from jbatch.data.dataset import checked
from jbatch.data.resident import ResidentData
from jbatch.task.base import Learner

RNG = np.random.default_rng(0)
COUNT = 192


def resident(train, test=None) -> ResidentData:
    arrays = Arrays(train, jax.tree.map(lambda leaf: leaf[:50], train) if test is None else test)
    return ResidentData(checked("Arrays", arrays.load()))


# ---- nnx: a network with stock BatchNorm and Dropout, on 16-bit grey images -------------------

GREY = {
    "image": RNG.integers(0, 2**16, (COUNT, 6, 6, 1), dtype=np.uint16),
    "label": RNG.integers(0, 4, COUNT),
}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, axis_name="group", momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.head = nnx.Linear(6 * 6 * 8, 4, rngs=rngs)

    def __call__(self, image):
        x = nnx.silu(self.norm(self.conv(image)))
        return self.head(self.dropout(x).reshape(-1))


def grey() -> tuple[Task, ResidentData]:
    return Classify(Net, ghost_batch=16), resident(GREY)


# ---- linen: a language model with ragged lengths, BatchNorm and Dropout -----------------------

LENGTH, WORDS = 7, 11
TEXT = {
    "tokens": RNG.integers(0, WORDS, (COUNT, LENGTH + 1)),
    "length": RNG.integers(1, LENGTH + 1, COUNT),
}


class Reader(linen.Module):
    @linen.compact
    def __call__(self, tokens, train):
        x = linen.Embed(WORDS, 8)(tokens)
        x = linen.Dense(16, use_bias=False)(x)
        x = linen.BatchNorm(not train, axis_name="group", momentum=0.9)(x)
        x = linen.Dropout(0.2, deterministic=not train)(linen.silu(x))
        return linen.Dense(WORDS)(x)


def next_token(network, example, train):
    tokens = example["tokens"]
    logits = network(tokens[:-1], train)
    there = jnp.arange(LENGTH) < example["length"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[1:])
    right = (logits.argmax(-1) == tokens[1:]) & there
    count = there.sum()
    return Scores(
        (losses * there).sum(), count, {"token_accuracy": (right.sum(), count), "length": count}
    )


def text() -> tuple[Task, ResidentData]:
    return Network(Reader(), next_token, group=8), resident(TEXT)


# ---- plain functions: a tabular regression with a random loss ---------------------------------

TABLE = {"row": RNG.normal(size=(COUNT, 5)).astype(np.float32), "target": RNG.normal(size=COUNT)}


def init_table(key, example):
    return {"w": jax.random.normal(key, example["row"].shape) * 0.1, "b": jnp.zeros(())}


def squared(params, example, key):
    row = example["row"]
    if key is not None:
        row = row + 0.1 * jax.random.normal(key, row.shape)
    error = row @ params["w"] + params["b"] - example["target"]
    return error**2, {"absolute_error": abs(error)}


def table() -> tuple[Task, ResidentData]:
    return Functions(init_table, squared), resident(TABLE)


# ---- a task of its own: contrastive over groups, with the device half of the input ------------

PAIRS = RNG.normal(size=(COUNT, 2, 6)).astype(np.float32)


@dataclass(frozen=True)
class Contrastive(Task):
    """InfoNCE: each example's second view among those of its group."""

    group: int = 16
    temperature: float = 0.5

    def init(self, key, example):
        return {"kernel": jax.random.normal(key, (example.shape[-1], 4)) * 0.3}, {}

    def prepare(self, example, key):
        return example if key is None else example * jax.random.uniform(key, (), minval=0.9)

    def score(self, params, state, example, key):
        one, other = example @ params["kernel"]
        others = jax.lax.all_gather(other, "group")
        logits = others @ one / self.temperature
        place = jax.lax.axis_index("group")
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, place)
        return Scores(loss, metrics={"found": logits.argmax() == place}), state


def pairs() -> tuple[Task, ResidentData]:
    return Contrastive(), resident(PAIRS)


# ---- several labels, with F1: a metric that is no sum of one example's ------------------------

LABELS = {
    "signal": RNG.normal(size=(COUNT, 40, 1)).astype(np.float32),
    "labels": RNG.integers(0, 2, (COUNT, 3)).astype(bool),
}


@dataclass(frozen=True)
class Tags(Task):
    """Three yes-or-no labels of a 1-D signal."""

    def init(self, key, example):
        return {"kernel": jax.random.normal(key, (40, 3)) * 0.1}, {}

    def score(self, params, state, example, key):
        logits, labels = example["signal"][:, 0] @ params["kernel"], example["labels"]
        loss = optax.sigmoid_binary_cross_entropy(logits, labels.astype(jnp.float32)).sum()
        said = logits > 0
        counts = {"hits": said & labels, "said": said, "are": labels}
        return Scores(loss, metrics={"f1": (counts, 1.0)}), state

    def finish(self, sums):
        counts, _ = sums["f1"]
        f1 = 2 * counts["hits"] / np.maximum(counts["said"] + counts["are"], 1)
        return {**super().finish({"loss": sums["loss"]}), "f1": f1.mean()}


def tags() -> tuple[Task, ResidentData]:
    return Tags(), resident(LABELS)


def clipped(rate, momentum):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b1=momentum))


def muon_and_adam(rate):
    def kinds(params):
        return jax.tree.map(lambda leaf: "muon" if leaf.ndim == 2 else "adam", params)

    return optax.partition({"muon": optax.contrib.muon(rate), "adam": optax.adam(rate)}, kinds)


STORIES = {
    "nnx": (grey, muon_and_adam),
    "linen": (text, clipped),
    "functions": (table, lambda rate: optax.lion(rate)),
    "contrastive": (pairs, lambda rate: optax.contrib.schedule_free_sgd(rate)),
    "multi-label": (tags, lambda rate, momentum: optax.sgd(rate, momentum)),
}


def learner_of(name, average=None) -> tuple[Learner, ResidentData]:
    make, optimizer = STORIES[name]
    task, data = make()
    return Learner(task.fitted(data.about), data.about.example, optimizer, 0.9, average), data
