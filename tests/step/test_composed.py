"""Optimizers made of others: each against its definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbatch import (
    MLP,
    SGD,
    Adam,
    AdamW,
    Arrays,
    Classify,
    Clipped,
    Coupling,
    Experiment,
    Group,
    Groups,
    Lookahead,
    Mistake,
    fit,
    load,
)
from jbatch.composed import moved, slow_parameters
from jbatch.optimizer import asks, own_values, takes_momentum, transformation

RNG = np.random.default_rng(0)
PARAMS = {
    "head": {"bias": RNG.normal(size=3), "kernel": RNG.normal(size=(2, 3))},
    "norm": {"bias": RNG.normal(size=4)},
}
# Some ten float32 steps of numbers near 1, each rounded by 6e-8.
TOLERANCE = 2e-6


def stepped(optimizer, updates, params=PARAMS, frozen=()):
    """Parameters after each update (rate, batch size, progress), whose gradient is w + 1."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    state, found = None, []
    for rate, batch_size, progress in updates:
        told = {"batch_size": jnp.float32(batch_size), "progress": jnp.float32(progress)}
        told = {name: told[name] for name in asks(optimizer)}
        with jax.numpy_dtype_promotion("standard"):
            made = transformation(optimizer, jnp.float32(rate), 0.8, frozen, told)
            state = made.init(params) if state is None else state
            gradient = jax.tree.map(lambda leaf: leaf + 1, params)
            steps, state = made.update(gradient, state, params)
            params = optax.apply_updates(params, steps)
        found.append((params, state))
    return found


def nesterov(w, updates, decay, factor=1.0, until=1.0):
    """PyTorch's SGD: g ← g + λw, b ← mb + g, w ← w − ε(g + mb)."""
    buffer, found = 0.0, []
    for rate, _, progress in updates:
        gradient = w + 1 + decay * w
        buffer = 0.8 * buffer + gradient
        if progress < until:
            w = w - rate * factor * (gradient + 0.8 * buffer)
        found.append(w)
    return found


UPDATES = [(0.02 + 0.01 * n, 100, n / 6) for n in range(6)]
EVERYTHING = SGD(nesterov=True, weight_decay=0.1, decay_on=lambda path, leaf: True)


def test_each_group_has_its_rate_its_decay_and_its_end():
    groups = Groups(
        (
            Group(("norm",), SGD(nesterov=True, weight_decay=0.3, decay_on=("norm",)), rate=4),
            Group(lambda path, leaf: path == "head.bias", EVERYTHING, until=0.5),
            Group(optimizer=EVERYTHING),
        )
    )
    found = [params for params, _ in stepped(groups, UPDATES)]
    expected = {
        ("norm", "bias"): {"decay": 0.3, "factor": 4.0},
        ("head", "bias"): {"decay": 0.1, "until": 0.5},
        ("head", "kernel"): {"decay": 0.1},
    }
    for (part, name), how in expected.items():
        for mine, theirs in zip(found, nesterov(PARAMS[part][name], UPDATES, **how), strict=True):
            np.testing.assert_allclose(mine[part][name], theirs, atol=TOLERANCE)
    np.testing.assert_array_equal(found[2]["head"]["bias"], found[5]["head"]["bias"])


def test_a_group_without_an_optimizer_stays_and_a_path_needs_a_parameter():
    still = Groups((Group(("head.bias",)), Group(optimizer=AdamW(weight_decay=0.1))))
    params, _ = stepped(still, UPDATES)[-1]
    np.testing.assert_array_equal(params["head"]["bias"], np.float32(PARAMS["head"]["bias"]))
    assert (params["head"]["kernel"] != np.float32(PARAMS["head"]["kernel"])).all()
    with pytest.raises(Mistake, match="a group names hed, but no parameter that trains is called"):
        stepped(Groups((Group(("hed",)), Group(optimizer=SGD()))), UPDATES)
    with pytest.raises(Mistake, match="a parameter is in no group: let the last one be the rest"):
        stepped(Groups((Group(("head",), SGD()),)), UPDATES)
    with pytest.raises(Mistake, match="no group has an optimizer"):
        Groups((Group(("head",)),))
    with pytest.raises(Mistake, match=r"on is 'head.bias': give a tuple of paths, such as "):
        Group("head.bias")
    with pytest.raises(Mistake, match="a group has rate 10 and until 1, but no optimizer"):
        Group(("head",), rate=10)


@pytest.mark.parametrize("most", [0.5, 100.0])
def test_clipping_shortens_the_whole_gradient(most):
    found, _ = stepped(Clipped(SGD(), most), UPDATES[:1])[0]
    gradient = jax.tree.map(lambda leaf: leaf + 1, PARAMS)
    length = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(gradient)))
    for part, old, step in zip(*map(jax.tree.leaves, (found, PARAMS, gradient)), strict=True):
        wanted = old - 0.02 * (1 + 0.8 * 0) * step * min(1, most / length)
        np.testing.assert_allclose(part, wanted, atol=TOLERANCE)


def looked_ahead(w, updates, every, horizon, power, start):
    """Parameters, slow ones and returns after each update, by the definition."""
    slow, since, found = w, 0, []
    for rate, batch_size, progress in updates:
        w = w - rate * (w + 1)
        since += batch_size
        if progress < start:
            slow, since = w, 0
        elif since + batch_size / 2 >= every:
            decay = np.exp(-since / horizon) * progress**power
            slow = decay * slow + (1 - decay) * w
            w, since = slow, 0
        found.append((w, slow, since))
    return found


@pytest.mark.parametrize("batches", [[100] * 12, [100] * 4 + [200] * 4 + [400] * 4, [90] * 12])
def test_lookahead_returns_to_its_average_every_so_many_examples(batches):
    updates = [(0.1, batch, n / 12) for n, batch in enumerate(batches)]
    optimizer = Lookahead(lambda rate: optax.sgd(rate), 300, 1000.0, power=2, start=0.25)
    found = stepped(optimizer, updates)
    expected = looked_ahead(PARAMS["norm"]["bias"], updates, 300, 1000.0, 2, 0.25)
    for (params, state), (w, slow, since) in zip(found, expected, strict=True):
        np.testing.assert_allclose(params["norm"]["bias"], w, atol=TOLERANCE)
        evaluated = slow_parameters(params, state)
        np.testing.assert_allclose(evaluated["norm"]["bias"], slow, atol=TOLERANCE)
        assert float(state.since) == since
    assert sum(since == 0 for *_, since in expected[3:]) >= 3


def test_frozen_parameters_and_other_groups_are_evaluated_as_they_are():
    some = Groups((Group(("norm",), SGD()), Group(optimizer=Lookahead(SGD(), 100))))
    params, state = stepped(some, UPDATES[:1], frozen=("head.bias",))[0]
    slow = slow_parameters(params, state)
    for part, name in (("head", "bias"), ("norm", "bias")):
        np.testing.assert_array_equal(slow[part][name], params[part][name])
    np.testing.assert_array_equal(params["head"]["bias"], np.float32(PARAMS["head"]["bias"]))


def test_parts_say_what_a_composed_optimizer_takes():
    nested = Lookahead(Groups((Group(("norm",), SGD()), Group(optimizer=AdamW(b2=0.9)))))
    assert asks(nested) == ("batch_size", "progress")
    assert asks(Clipped(SGD())) == ()
    assert asks(lambda rate, progress=0.0: optax.sgd(rate)) == ("progress",)
    assert takes_momentum(nested)
    assert not takes_momentum(Clipped(lambda rate: optax.sgd(rate)))
    assert not takes_momentum(lambda rate, progress: optax.sgd(rate * (1 - progress)))
    assert own_values(Clipped(Adam(b2=0.97)))[:2] == (0.9, 0.97)
    with pytest.raises(Mistake, match=r"optimizer is <class .*SGD.*: give one of jbatch's, such"):
        Clipped(SGD)


def test_a_value_that_follows_the_batch_is_the_same_in_all_groups():
    def told(first, rest):
        groups = Groups((Group(("norm",), first), Group(optimizer=Clipped(rest))))
        told = dict.fromkeys((*asks(groups), "weight_decay"), jnp.float32(0))
        return transformation(groups, 0.1, 0.9, held=told)

    told(AdamW(weight_decay=0.1), AdamW(weight_decay=0.1))
    told(Adam(), AdamW(weight_decay=0.1))  # Adam's penalty does not follow
    with pytest.raises(Mistake, match=r"weight_decay follow .* different ones \(0, 0.1\)"):
        told(AdamW(weight_decay=0), AdamW(weight_decay=0.1))


X = RNG.normal(size=(64, 4, 4, 1)).astype(np.float32)
DATA = {"image": X, "label": np.arange(64) % 3}


def test_a_run_tells_its_optimizer_the_batch_and_the_part_of_the_run(tmp_path):
    """A rate that is what the optimizer is told leaves the sum of it in the parameters' path."""
    plan = Coupling(lambda epoch: 1.0, num_epochs=2, ramp={0: 16, 1: 32}, momentum=0.0)

    def total(rate, *, batch_size, progress):
        def update(gradient, state, params=None):
            return jax.tree.map(jnp.zeros_like, gradient), state + batch_size * (1 + progress)

        return optax.GradientTransformation(lambda params: jnp.float32(0), update)

    experiment = Experiment(
        plan, task=Classify(MLP((4,))), data=Arrays(DATA, DATA), optimizer=total, updates_per_call=4
    )
    run = fit(experiment, tmp_path / "run")
    sizes = [16] * 4 + [32] * 2
    places = np.cumsum([0, *sizes])[:-1]
    # Six products of numbers up to 64 in float32.
    assert float(run.state.optimizer) == pytest.approx(
        sum(size * (1 + place / 128) for size, place in zip(sizes, places, strict=True)), rel=1e-6
    )


def test_a_run_evaluates_the_slow_parameters(tmp_path):
    plan = Coupling(lambda epoch: 0.1, num_epochs=2, batch_size=16, momentum=0.9)
    experiment = Experiment(
        plan,
        task=Classify(MLP((4,))),
        data=Arrays(DATA, DATA),
        optimizer=Lookahead(SGD(nesterov=True), every=48, horizon=64),
    )
    run = fit(experiment, tmp_path / "run")
    fast = jax.device_get(run.state.params)
    slow = slow_parameters(fast, jax.device_get(run.state.optimizer))
    model = jax.device_get(load(tmp_path / "run").params)
    assert jax.tree.all(jax.tree.map(np.array_equal, slow, model))
    # 8 updates are two returns and two more.
    assert not jax.tree.all(jax.tree.map(np.array_equal, slow, fast))


def test_which_parameters_ever_move():
    flat = {"head.bias": 0, "head.kernel": 0, "norm.bias": 0}
    norms, heads = Group(("norm",), SGD()), Group(("head.bias",), SGD())

    def of(*groups):
        return moved(Clipped(Groups(groups)), flat)

    assert moved(lambda rate: optax.sgd(rate), flat) == set(flat)
    assert of(Group(None, SGD())) == set(flat)
    assert of(norms, Group()) == {"norm.bias"}
    assert of(Group(("norm",), SGD(), rate=0.0), heads, Group()) == {"head.bias"}
    assert of(Group(("head",), Groups((heads, Group()))), norms) == {"head.bias", "norm.bias"}
