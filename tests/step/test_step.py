"""The step: an update is what the papers and optax say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbatch.data.image.augment import Augment
from jbatch.data.image.normalize import affine
from jbatch.data.order import epoch_order
from jbatch.errors import Mistake
from jbatch.estimate.hlo_costs import facts_of
from jbatch.models import MLP, GhostBatchNorm
from jbatch.optim import LAMB, LARS, SGD, Adam, AdamW, Rprop
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Accumulate, Apply, Update
from jbatch.step import programs, pure
from jbatch.task import classifier
from small_runs import DATASET, learner_of, run_updates, setup_of

PLAIN = learner_of(MLP((32,)), SGD(weight_decay=5e-4), label_smoothing=0.1)


def test_an_update_is_optax_on_the_mean_gradient():
    """Against a plain computation in the manner of any JAX tutorial, in one place."""
    seed, size = 3, 48
    optimizer = SGD(weight_decay=5e-4)
    setup = setup_of(learner_of(MLP((32,)), optimizer, Augment(), label_smoothing=0.1))
    state, [loss] = run_updates(setup, batch_size=size, updates=1, seed=seed, learning_rate=0.1)
    before = programs.initializer(setup)(np.uint32(seed)).params

    ids = epoch_order(seed, 0, 1500)[:size]
    images, labels = DATASET.train["image"], DATASET.train["label"]
    mean, scale = affine("standardize", images)
    images = (images[ids].astype(np.float32) - mean) * scale
    targets = optax.smooth_labels(jax.nn.one_hot(labels[ids], 10), 0.1)

    def mean_loss(params):
        first, head = params["layers"][0]["linear"], params["head"]
        hidden = jax.nn.relu(images.reshape(size, -1) @ first["kernel"] + first["bias"])
        logits = hidden @ head["kernel"] + head["bias"]
        return optax.softmax_cross_entropy(logits, targets).mean()

    expected_loss, gradients = jax.value_and_grad(mean_loss)(before)
    expected = jax.tree.map(
        lambda p, g: p - 0.1 * (g + (5e-4 * p if p.ndim > 1 else 0.0)), before, gradients
    )
    assert loss == pytest.approx(float(expected_loss), rel=1e-6)
    # One matrix product in another order: √64 · 2⁻²⁴ of gradients below 1.
    for mine, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("passes", [1, 3])
def test_one_all_reduce_per_update(passes):
    setup = setup_of(PLAIN, 8)
    layout = Layout(48 // passes, 8, 1)
    if passes == 1:
        assert facts_of(programs.compiled(setup, Update(layout)).compiled).reductions == 1
    else:
        assert facts_of(programs.compiled(setup, Accumulate(layout)).compiled).reductions == 0
        assert facts_of(programs.compiled(setup, Apply()).compiled).reductions == 1


def test_running_statistics_decay_per_ghost_batch():
    learner = learner_of(MLP((4,), GhostBatchNorm(8, decay=0.9)), SGD())
    stats, sums = {"mean": jnp.float32(2)}, {"mean": jnp.float32(3 * 5)}
    running = learner.task.running(stats, sums, jnp.float32(3))
    # Three ghost batches of mean 5: 0.9³ of the old 2 is left.
    assert float(running["mean"]) == pytest.approx(0.9**3 * 2 + (1 - 0.9**3) * 5, rel=1e-6)


def test_totals_go_on_counting_where_float32_would_stop():
    much, none = jnp.float32(2**24), jnp.float32(0)
    sums = {"loss": (much, much), "accuracy": (much, much)}
    rest = jax.tree.map(lambda _: none, sums)
    scores = {"loss": (jnp.float32(0.25), jnp.float32(1)), "accuracy": (jnp.float32(1),) * 2}

    def one(_, totals):
        return pure._added(totals, scores)

    so_far = pure.Totals(sums, rest)
    totals = jax.jit(lambda: jax.lax.fori_loop(0, 1000, one, so_far))()
    assert PLAIN.task.finish(pure.exact(totals)) == {
        "loss": (2**24 + 250) / (2**24 + 1000),
        "accuracy": 1.0,
    }


def test_evaluation_uses_the_running_statistics():
    learner = learner_of(MLP((8,), GhostBatchNorm(16)), SGD())
    state = programs.initializer(setup_of(learner))(np.uint32(0))
    images = np.ones((2, 8, 8, 1), np.float32)
    (both,), stats = classifier.forward(learner.task, state.params, state.stats, images, None)
    (one,), _ = classifier.forward(learner.task, state.params, state.stats, images[:1], None)
    # Products of 64 terms near 1, in another order: √64 · 2⁻²⁴, a few times over.
    np.testing.assert_allclose(both[:1], one, rtol=0, atol=2e-6)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), stats, state.stats))


MASK = {"w": True, "b": False}
OPTIMIZERS = {  # ours, and optax's for a rate or a schedule
    "sgd": (SGD(), lambda rate: optax.sgd(rate, 0.9)),
    "nesterov": (SGD(nesterov=True), lambda rate: optax.sgd(rate, 0.9, nesterov=True)),
    "adam": (Adam(), optax.adam),
    "adamw": (AdamW(weight_decay=0.01), lambda r: optax.adamw(r, weight_decay=0.01, mask=MASK)),
    "lars": (
        LARS(),
        lambda rate: optax.lars(rate, 1e-4, MASK, trust_ratio_mask=MASK, momentum=0.9),
    ),
    "lamb": (LAMB(), lambda rate: optax.lamb(rate, weight_decay=1e-4, mask=MASK)),
}


@pytest.mark.parametrize(("optimizer", "theirs"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_are_optaxs_with_norms_and_biases_left_out_of_decay(optimizer, theirs):
    """Made anew with each update's rate, as in the step; optax's own follows a schedule."""
    params = {"w": jnp.full((2, 2), 0.5), "b": jnp.full((2,), 0.5)}
    gradients = jax.tree.map(lambda leaf: 0.1 * leaf, params)
    schedule = optax.piecewise_constant_schedule(0.1, {1: 0.5, 3: 3.0})
    with jax.numpy_dtype_promotion("standard"):
        theirs = theirs(schedule)
        state, expected_state = optimizer(0.0, 0.9).init(params), theirs.init(params)
        for update in range(5):
            mine = optimizer(schedule(update), 0.9)
            steps, state = mine.update(gradients, state, params)
            expected, expected_state = theirs.update(gradients, expected_state, params)
            for a, b in zip(jax.tree.leaves(steps), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6)


def test_weight_decay_is_l2_for_sgd_and_adam():
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones((2,))}
    zero = jax.tree.map(jnp.zeros_like, params)
    with jax.numpy_dtype_promotion("standard"):
        sgd = SGD(weight_decay=0.5)(0.1, 0.0)
        steps, _ = sgd.update(zero, sgd.init(params), params)
        assert float(steps["w"][0, 0]) == pytest.approx(-0.05)
        assert float(steps["b"][0]) == 0
        adam = Adam(weight_decay=0.5)(0.1, 0.9)
        steps, _ = adam.update(zero, adam.init(params), params)
        assert float(steps["w"][0, 0]) == pytest.approx(-0.1, rel=1e-4)  # a whole step: L2
        assert float(steps["b"][0]) == 0


def test_rprop_is_optaxs_times_the_rate():
    params = jnp.array([1.0, -2.0, 3.0])
    mine, theirs = Rprop(0.2)(0.5, 0.0), optax.rprop(0.2)
    state, expected_state = mine.init(params), theirs.init(params)
    for update in range(12):
        gradient = jnp.cos(jnp.float32(update) * params)  # its signs change
        steps, state = mine.update(gradient, state, params)
        expected, expected_state = theirs.update(gradient, expected_state, params)
        np.testing.assert_array_equal(steps, 0.5 * expected)
    assert np.unique(state[0].step_sizes).size > 1
    with pytest.raises(Mistake, match=r"plan\.momentum is 0\.9, .*: set it to 0"):
        Rprop()(1.0, 0.9)


@pytest.mark.parametrize("steps", [{"shrink": 1.0}, {"grow": 1.0}, {"initial_step": 60.0}])
def test_rprop_refuses_steps_that_would_not_adapt(steps):
    with pytest.raises(Mistake, match=f"{next(iter(steps.values())):g}"):
        Rprop(**steps)


def test_nesterov_without_momentum_is_refused():
    for optimizer in (SGD(nesterov=True), LARS(nesterov=True)):
        with pytest.raises(Mistake, match=r"plan\.momentum is 0"):
            optimizer(0.1, 0.0)


def test_label_smoothing_is_optaxs():
    logits = jax.random.normal(jax.random.key(0), (5, 10))
    labels = jnp.arange(5)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), 0.1)
    expected = optax.softmax_cross_entropy(logits, targets)
    np.testing.assert_allclose(classifier.cross_entropy(logits, labels, 0.1), expected, rtol=1e-5)
