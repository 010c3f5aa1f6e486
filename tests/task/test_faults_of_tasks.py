"""Faults of a person's own task, optimizer or data: one message each, and nothing is written."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from jbatch import (
    GPT,
    Arrays,
    Classify,
    Coupling,
    Experiment,
    Functions,
    LanguageModel,
    Mistake,
    Network,
    Regress,
    Scores,
    SmallCNN,
    Task,
    conv,
    fit,
)

X = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)
PLAN = Coupling(optax.constant_schedule(0.1), num_epochs=1, batch_size=16)


def data(image=X, label=Y, test=None):
    train = {"image": image, "label": label}
    return Arrays(train, train if test is None else test)


def linear(rngs):
    return nnx.Linear(6, 2, rngs=rngs)


def normed(axis_name):
    def network(rngs):
        norm = nnx.BatchNorm(6, axis_name=axis_name, rngs=rngs)
        return nnx.Sequential(norm, nnx.Linear(6, 2, rngs=rngs))

    return network


class LinenNorm(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(linen.BatchNorm(use_running_average=False)(x))


@dataclass(frozen=True)
class Unscored(Task):
    def init(self, key, example):
        return {"w": jnp.zeros(6)}, {}


def loss(network, example):
    logits = network(example["image"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, example["label"])


def init(key, example):
    return {"w": jnp.zeros(6)}


def right(params, example, key):
    return (example["image"] @ params["w"]) ** 2


def state_differs():
    class Own(nnx.Module):
        def __init__(self, rngs):
            self.seen = nnx.BatchStat(jnp.zeros(6))
            self.out = nnx.Linear(6, 2, rngs=rngs)

        def __call__(self, x):
            self.seen[...] = x
            return self.out(x)

    return Own


def experiment(task=None, data=data(), **changes):  # noqa: B008
    return Experiment(PLAN, task=Classify(linear) if task is None else task, data=data, **changes)


CASES = {
    "batch norm without axis_name": (
        lambda: experiment(Classify(normed(None), ghost_batch=8)),
        r'the batch norm layers/0 has no axis_name.*BatchNorm\(…, axis_name="group"\)',
    ),
    "linen batch norm without axis_name": (
        lambda: experiment(Classify(LinenNorm(), ghost_batch=8)),
        r'the batch norm BatchNorm_0 has no axis_name.*axis_name="group"',
    ),
    "batch norm without a group": (
        lambda: experiment(Classify(normed("group"))),
        r'uses the axis "group", but no examples see each other: give the task a group',
    ),
    "a state of one example": (
        lambda: experiment(Classify(state_differs(), ghost_batch=8)),
        r'leave different states. Average what they leave: jax.lax.pmean\(x, "group"\)',
    ),
    "a module that is built": (
        lambda: experiment(Network(linear(nnx.Rngs(0)), loss)),
        r"the network is a Linear that is already built: give what builds it",
    ),
    "a class of jbatch's networks": (
        lambda: experiment(Classify(SmallCNN)),
        r"the network is the class SmallCNN itself: give a value of it, SmallCNN\(…\)",
    ),
    "a class of jbatch's language models": (
        lambda: experiment(LanguageModel(GPT)),
        r"the network is the class GPT itself: give a value of it, GPT\(…\)",
    ),
    "a network that needs more than rngs": (
        lambda: experiment(Network(nnx.Linear, loss)),
        r"cannot be built from rngs alone .*lambda rngs: Net\(10, rngs=rngs\)",
    ),
    "a task without a score": (
        lambda: experiment(Unscored()),
        r"Unscored is a Task without a method that it needs: define score\(params, state,",
    ),
    "no network": (lambda: experiment(Network(3, loss)), r"the network is 3: give a flax linen"),
    "another number of classes": (
        lambda: experiment(data=data(label=Y + 1)),
        r"returns logits of shape \(2,\) for one image of shape \(6,\), but the dataset has 3 ",
    ),
    "a dtype that would do nothing": (
        lambda: experiment(Classify(linear, dtype="bfloat16")),
        r"dtype is bfloat16, which would change nothing: .* set the dtype of its layers",
    ),
    "a loss for each pixel": (
        lambda: experiment(Functions(init, lambda params, example, key: example["image"])),
        r"the loss of one example has the shape \(6,\): give one number",
    ),
    "a loss that returns nothing": (
        lambda: experiment(Functions(init, lambda params, example, key: None)),
        r"the loss returned None: return a scalar",
    ),
    "a metric with a taken name": (
        lambda: experiment(Functions(init, lambda *_: Scores(0.0, metrics={"epoch": 1}))),
        r"a metric is called 'epoch', which has another meaning: rename it",
    ),
    "a missing key": (
        lambda: experiment(Functions(init, lambda params, example, key: example["target"])),
        r"the task fails \(.*test_faults_of_tasks.py, line \d+\): KeyError: 'target'",
    ),
    "a wrong shape": (
        lambda: experiment(Functions(init, lambda params, *_: params["w"] @ jnp.zeros(3))),
        r"the task fails \(.*test_faults_of_tasks.py, line \d+\): TypeError",
    ),
    "whole parameters": (
        lambda: experiment(Functions(lambda *_: {"n": jnp.zeros(2, int)}, lambda *_: 0.0)),
        r"the parameter \['n'\] is int32, which has no gradient",
    ),
    "a wrong argument of a function of ours": (
        lambda: experiment(Functions(lambda *_: {"w": X[0]}, lambda *_: conv(X, X, 0))),
        r"the task \(.*test_faults_of_tasks.py, line \d+\): stride is 0: give a whole number",
    ),
    "no parameters": (
        lambda: experiment(Functions(lambda *_: {}, lambda *_: 0.0)),
        r"the task has no parameters to train",
    ),
    "an optimizer that accumulates": (
        lambda: experiment(optimizer=lambda rate: optax.MultiSteps(optax.sgd(rate), 2)),
        r"accumulates gradients itself \(optax.MultiSteps\): take that off",
    ),
    "an optimizer that needs the loss": (
        lambda: experiment(
            optimizer=lambda rate: optax.chain(optax.sgd(rate), optax.contrib.reduce_on_plateau())
        ),
        r"the optimizer wants more than gradient, state and parameters",
    ),
    "no optimizer": (
        lambda: experiment(optimizer=lambda rate: rate),
        r"the optimizer returned 0.0: give a function of the rate that returns an optax",
    ),
    "other names": (
        lambda: experiment(data=Arrays({"x": X, "y": Y}, {"x": X, "y": Y})),
        r"Classify wants examples with 'image' and 'label', but the dataset's have 'x', 'y'",
    ),
    "no target": (
        lambda: experiment(Regress(linear)),
        r"Regress wants examples with 'input' and 'target'",
    ),
    "a target of another shape": (
        lambda: experiment(
            Regress(linear), Arrays({"input": X, "target": Y}, {"input": X, "target": Y})
        ),
        r"the network returns the shape \(2,\) for one input, but a target has \(\)",
    ),
    "other lengths": (
        lambda: experiment(data=data(label=Y[:10])),
        r"the arrays of Arrays have different numbers of examples: train\['image'\] has 64, ",
    ),
    "not a number": (
        lambda: experiment(data=data(image=np.where(X[3, 2] == X, np.nan, X))),
        r"train\['image'\] of Arrays has NaN or infinity, first in example 3",
    ),
    "text": (
        lambda: experiment(data=data(label=np.array(["a", "b"] * 32))),
        r"train\['label'\] of Arrays holds <U1 .*encode text as numbers",
    ),
    "test unlike train": (
        lambda: experiment(data=data(test={"image": X[:, :3], "label": Y})),
        r"examples of Arrays differ: \['image'\] is float32 of shape \(6,\) and float32 of shape",
    ),
    "a group larger than the batch": (
        lambda: experiment(Classify(normed("group"), ghost_batch=32)),
        r"the ghost batch of 32 is larger than the plan's largest batch, 16",
    ),
    "a group that does not divide": (
        lambda: experiment(Classify(normed("group"), ghost_batch=5)),
        r"batch 16 is not made of whole ghost batches of 5",
    ),
}


@pytest.mark.parametrize(("make", "message"), CASES.values(), ids=CASES)
def test_one_message_and_nothing_written(make, message, tmp_path):
    with pytest.raises(Mistake, match=message) as refused:
        fit(make(), tmp_path / "run", devices=jax.devices()[:1])
    assert "\n" not in str(refused.value).strip()
    assert len(str(refused.value)) < 1000
    assert not (tmp_path / "run").exists()
