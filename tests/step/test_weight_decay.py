"""Which parameters decay: by default, by path, and by a function of your own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbatch import (
    LAMB,
    LARS,
    MLP,
    SGD,
    Adam,
    AdamW,
    Arrays,
    Classify,
    Coupling,
    Experiment,
    GhostBatchNorm,
    Mistake,
    Weights,
    fit,
)
from jbatch.optimizer import transformation
from jbatch.parameters import decayed, named

PARAMS = {
    "embed": {"kernel": jnp.ones((3, 2))},
    "layers": [{"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, {"scale": jnp.ones((4, 2))}],
    "head": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
}
OPTIMIZERS = (SGD(), Adam(), AdamW(), LARS(), LAMB())


def shrunk(optimizer):
    """Names of the parameters that a step without a gradient changes."""
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        made = optimizer(0.1, 0.9)
        steps, _ = made.update(zero, made.init(PARAMS), PARAMS)
    return {path for path, step in named(steps) if np.abs(step).max() > 0}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_what_decays_is_chosen_by_path_or_by_a_function(optimizer):
    optimizer = replace(optimizer, weight_decay=0.1)
    kernels = {"embed.kernel", "layers.0.kernel", "head.kernel"}
    assert shrunk(optimizer) == kernels
    assert shrunk(replace(optimizer, decay_on=("layers", "head.bias"))) == {
        *("layers.0.kernel", "layers.0.bias", "layers.1.scale", "head.bias")
    }

    def but_embeddings(path, leaf):
        return leaf.ndim > 1 and not path.startswith("embed")

    assert shrunk(replace(optimizer, decay_on=but_embeddings)) == {
        *("layers.0.kernel", "layers.1.scale", "head.kernel")
    }
    assert shrunk(replace(optimizer, decay_on=())) == set()


def test_decay_by_path_is_optaxs_with_a_mask():
    mine = AdamW(weight_decay=0.01, decay_on=("head",))(0.1, 0.9)
    mask = jax.tree.map(lambda _: False, decayed(PARAMS)) | {"head": {"kernel": True, "bias": True}}
    theirs = optax.adamw(0.1, b1=0.9, weight_decay=0.01, mask=mask)
    gradients = jax.tree.map(lambda leaf: 0.1 * leaf, PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        steps, _ = mine.update(gradients, mine.init(PARAMS), PARAMS)
        expected, _ = theirs.update(gradients, theirs.init(PARAMS), PARAMS)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), steps, expected))


def test_a_frozen_parameter_does_not_decay():
    made = transformation(SGD(weight_decay=0.1, decay_on=("head",)), 0.1, 0.9, ("head.bias",))
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    steps, _ = made.update(zero, made.init(PARAMS), PARAMS)
    assert {path for path, step in named(steps) if np.abs(step).max() > 0} == {"head.kernel"}


X = np.random.default_rng(0).normal(size=(32, 4, 4, 1)).astype(np.float32)
DATA = Arrays({"image": X, "label": np.arange(32) % 3}, {"image": X[:9], "label": np.zeros(9, int)})
PLAN = Coupling(optax.constant_schedule(0.1), num_epochs=1, batch_size=16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": SGD(weight_decay=0.1, decay_on=("layers.0.linear.kernal",))},
            r"decay_on names layers.0.linear.kernal, but no parameter that trains is called so; "
            r"did you mean layers.0.linear.kernel\? \(there are head.bias, head.kernel, ",
        ),
        (
            {
                "optimizer": SGD(weight_decay=0.1, decay_on=("head",)),
                "init": Weights("runs/none", freeze=("head",)),
            },
            r"decay_on names head, but no parameter that trains is called so",
        ),
        ({"optimizer": lambda rate: AdamW(decay_on=("haed",))(rate, 0.9)}, "decay_on names haed"),
    ],
)
def test_a_path_without_a_parameter_is_refused(changes, message, tmp_path):
    task = Classify(MLP((8,), GhostBatchNorm(8)))
    with pytest.raises(Mistake, match=message):
        fit(Experiment(PLAN, task=task, data=DATA, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paths_are_texts():
    with pytest.raises(Mistake, match=r"optimizer.decay_on is 'head': give a tuple of str or "):
        Experiment(PLAN, optimizer=SGD(decay_on="head"))
