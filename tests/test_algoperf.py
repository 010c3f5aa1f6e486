"""The submissions to AlgoPerf, by a stand-in written from its interface.

The stand-in is `algoperf/spec.py` and the loop of `submission_runner.py`, as far as they touch a
submission: names, kinds and order of arguments, and what becomes of the results.
"""

import itertools
import sys
from collections import namedtuple
from importlib import import_module
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

pytestmark = pytest.mark.usefixtures("standard_promotion")

TRAIN, CLASSES, PIXELS = object(), 3, 5


class Complete(Exception):
    """The harness's TrainingCompleteError."""


SPEC = SimpleNamespace(ForwardPassMode=SimpleNamespace(TRAIN=TRAIN), TrainingCompleteError=Complete)
Hyperparameters = namedtuple(
    "Hyperparameters",
    "length learning_rate warmup_factor one_minus_beta1 beta2 weight_decay label_smoothing "
    "dropout_rate",
)
POINT = Hyperparameters(0.5, 0.01, 0.1, 0.1, 0.99, 0.1, 0.1, 0.0)


class Workload:
    """Softmax regression, and a state that counts the examples of all updates."""

    step_hint, loss_type, model_params_types = 800, "softmax cross-entropy", {}

    def model_fn(
        self,
        params,
        augmented_and_preprocessed_input_batch,
        model_state,
        mode,
        rng,
        update_batch_norm,
        dropout_rate=0.0,
    ):
        assert mode is TRAIN
        assert update_batch_norm
        inputs = augmented_and_preprocessed_input_batch["inputs"]
        return inputs @ params["kernel"] + params["bias"], model_state + len(inputs)

    def loss_fn(self, label_batch, logits_batch, mask_batch=None, label_smoothing=0.0):
        targets = optax.smooth_labels(jax.nn.one_hot(label_batch, CLASSES), label_smoothing)
        losses = optax.softmax_cross_entropy(logits_batch, targets)
        return {"summed": losses.sum(), "n_valid_examples": len(losses), "per_example": losses}


def queue(size):
    """Batches without an end, with a number in each example that says its place in the stream."""
    random = np.random.default_rng(0)
    for number in itertools.count():
        targets = random.integers(CLASSES, size=size)
        inputs = random.normal(size=(size, PIXELS)) + np.eye(CLASSES, PIXELS)[targets]
        places = number * size + np.arange(size)
        yield {
            "inputs": jnp.asarray(inputs, jnp.float32),
            "targets": jnp.asarray(targets),
            "places": jnp.asarray(places),
        }


@pytest.fixture
def train(monkeypatch):
    """The harness's loop: submission → (its state, its parameters, places of each update)."""
    monkeypatch.setitem(sys.modules, "algoperf", SimpleNamespace(spec=SPEC))

    def train_once(name, updates=None):
        submission, workload = import_module(f"benchmarks.algoperf.{name}"), Workload()
        input_queue = queue(submission.get_batch_size("mnist"))
        params = {"kernel": jnp.zeros((PIXELS, CLASSES)), "bias": jnp.zeros(CLASSES)}
        model_state, seen = jnp.zeros((), jnp.int32), []
        key = jax.random.key(0)
        state = submission.init_optimizer_state(workload, params, model_state, POINT, key)
        for global_step in itertools.count():
            batch = submission.data_selection(
                workload, input_queue, state, params, model_state, POINT, global_step, key
            )
            try:
                state, params, model_state = submission.update_params(
                    workload=workload,
                    current_param_container=params,
                    current_params_types=workload.model_params_types,
                    model_state=model_state,
                    hyperparameters=POINT,
                    batch=batch,
                    loss_type=workload.loss_type,
                    optimizer_state=state,
                    eval_results=[],
                    global_step=global_step,
                    rng=key,
                )
            except Complete:
                break
            seen.append(np.asarray(batch["places"]))
            if len(seen) == updates:
                break
        assert model_state == sum(map(len, seen))
        return state, params, seen

    return train_once


def test_the_batch_grows_through_the_same_examples_in_fewer_updates(train):
    (_, plan), _, grown = train("growing")
    (_, twin), _, kept = train("decaying")
    assert [len(places) for places in grown] == [row.batch_size for row in plan]
    assert {len(places) for places in kept} == {64}
    assert len(kept) == len(twin) == 400  # length · step_hint
    assert len(grown) < 0.75 * len(kept)
    assert len(plan.phases) > 4
    for seen in (grown, kept):
        np.testing.assert_array_equal(np.concatenate(seen), np.arange(sum(map(len, seen))))
    assert sum(map(len, grown)) > 0.9 * sum(map(len, kept))  # up to a last whole batch


def test_both_follow_the_schedule_of_the_baseline(train):
    """Rate over batch is that of a warm-up and a cosine, at the same examples."""
    (_, plan), _, _ = train("growing", updates=1)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.01, 40, 400)
    for row in plan:
        kappa = row.batch_size / 64
        expected = kappa * float(schedule(row.position / 64))
        assert row.learning_rate == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert row.momentum == pytest.approx(0.9**kappa)
        assert row.b2 == pytest.approx(0.99**kappa)


def test_they_are_one_run_until_the_batch_grows(train):
    (_, plan), _, _ = train("growing", updates=1)
    first = plan.phases[1].first_update
    (state, _), params, _ = train("growing", updates=first)
    (twin, _), kept, _ = train("decaying", updates=first)
    jax.tree.map(np.testing.assert_array_equal, (state, params), (twin, kept))


def test_an_update_is_nadamw_of_the_whole_batch(train):
    """By definition: the first update of a rate over 0, which is the second."""
    _, params, _ = train("decaying", updates=2)
    batches = queue(64)
    rate, moment, square = 0.01 / 40, 0.0, 0.0
    for _ in range(2):
        batch = next(batches)

        def loss(params, batch=batch):
            logits, _ = Workload().model_fn(params, batch, 0, TRAIN, None, True)
            return Workload().loss_fn(batch["targets"], logits, None, 0.1)["summed"] / 64

        zeros = {"kernel": jnp.zeros((PIXELS, CLASSES)), "bias": jnp.zeros(CLASSES)}
        gradient = jax.grad(loss)(zeros)["kernel"]
        moment = 0.9 * moment + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
    ahead = 0.9 * moment / (1 - 0.9**3) + 0.1 * gradient / (1 - 0.9**2)
    expected = -rate * ahead / (jnp.sqrt(square / (1 - 0.99**2)) + 1e-8)
    np.testing.assert_allclose(params["kernel"], expected, rtol=2e-4)
