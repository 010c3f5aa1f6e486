"""Runs whose optimizer's values follow the batch, or are left to the optimizer."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jbatch
from jbatch import LAMB, LARS, SGD, Adam, AdamW, Coupling, Hold, Rprop
from jbatch.analysis.speed import speeds
from jbatch.analysis.split_check import check_experiment
from jbatch.distributed.preemption import PhaseEnd
from jbatch.errors import Mistake
from jbatch.run.check import check, warnings
from jbatch.run.checkpoint import parameters_digest
from jbatch.step import programs
from small_runs import all_compiled
from trained_runs import ONE, TUNED

NAMES = ("momentum", "b2", "eps", "weight_decay")
# 50, 100 and 150 examples, in 30 + 15 + 10 updates.
GROWS = Coupling(
    optax.piecewise_constant_schedule(1e-3, {1: 1 / 2, 2: 2 / 3}),
    num_examples=1500,
    num_epochs=3,
    batch_size=50,
    batch_sizes=(50, 100, 150),
    scaling=0.5,
)
HELD = dataclasses.replace(GROWS, hold="malladi")


def experiment(plan=HELD, optimizer=AdamW(b2=0.95)):  # noqa: B008
    return dataclasses.replace(TUNED, plan=plan, optimizer=optimizer, updates_per_call=1)


def recorder(rate, momentum, b2=0.95, eps=1e-6, weight_decay=0.2):
    """Gradient descent, whose state is the list of what all updates were told."""

    def init(params):
        return {"told": jnp.zeros((55, 5)), "count": jnp.int32(0)}

    def update(gradients, state, params):
        told = jnp.stack([jnp.float32(each) for each in (rate, momentum, b2, eps, weight_decay)])
        told = state["told"].at[state["count"]].set(told)
        steps = optax.tree.scale(-rate, gradients)
        return steps, {"told": told, "count": state["count"] + 1}

    return optax.GradientTransformation(init, update)


def test_every_update_is_told_its_row(tmp_path):
    """By place and by name; what does not follow is a constant of the program."""
    hold = Hold(momentum="half_life", weight_decay="time_scale")
    plan = dataclasses.replace(GROWS, hold=hold, momentum=0.9)
    held = dataclasses.replace(experiment(plan, recorder), average=2000.0)
    run = jbatch.fit(held, tmp_path / "run", devices=ONE)
    rows = [[row.learning_rate, *(getattr(row, name) for name in NAMES)] for row in run.plan]
    told = np.asarray(run.state.optimizer["told"])
    np.testing.assert_array_equal(told, np.array(rows, np.float32))
    assert [len(set(column)) for column in told[:, 1:].T] == [3, 1, 1, 3]
    # An average of the parameters follows by itself: three epochs weigh so much at any sizes.
    assert run.state.average.weight == pytest.approx(
        1 - math.exp(-4500 / 2000), rel=1e-5
    )  # float32


def misses():
    all_compiled()
    return programs.compiled.cache_info().misses


def test_no_change_of_a_value_compiles_anything(tmp_path):
    """As many programs as without: an update of one pass, a pass, its end, and an evaluation."""
    counts = {}
    for name, plan in (("bare", GROWS), ("held", HELD)):
        before = misses()
        jbatch.fit(experiment(plan), tmp_path / name, devices=ONE)
        counts[name] = misses() - before
    assert counts == {"bare": 4, "held": 4}
    before = misses()
    other = dataclasses.replace(HELD, base_batch_size=25)  # other values in all phases
    run = jbatch.fit(experiment(other), tmp_path / "other", devices=ONE)
    assert run.plan.at(0).b2 == pytest.approx(0.9)
    assert misses() == before


def test_a_run_goes_on_with_the_same_bits(tmp_path):
    whole = jbatch.fit(experiment(), tmp_path / "whole", devices=ONE)
    with pytest.raises(PhaseEnd):
        jbatch.fit(experiment(), tmp_path / "run", devices=ONE, until_phase=1)
    again = jbatch.fit(experiment(), tmp_path / "run", devices=ONE)
    assert parameters_digest(again.state.params) == parameters_digest(whole.state.params)
    changed = dataclasses.replace(HELD, hold="half_life")
    with pytest.raises(Mistake, match="plan"):
        jbatch.fit(experiment(changed), tmp_path / "run", devices=ONE)


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (SGD(), 0.0), (Rprop(), 0.0), (LARS(), 0.9), (Adam(), 0.9), (AdamW(), 0.9), (LAMB(), 0.9),
        (optax.adamw, 0.0),  # of the rate alone: it has its own, which jbatch cannot see
        (lambda rate, momentum=0.95: optax.sgd(rate, momentum), 0.95),
    ],
)  # fmt: skip
def test_momentum_is_the_optimizers_own_unless_the_plan_gives_it(optimizer, momentum):
    assert experiment(GROWS, optimizer).make_plan().momentum == momentum
    given = dataclasses.replace(GROWS, momentum=0.5)
    assert experiment(given, optimizer).make_plan().momentum == 0.5


def test_a_momentum_that_is_not_passed_on_is_said_only_if_it_was_given():
    def own(rate, momentum=0.95):
        return optax.sgd(rate, momentum)

    given = experiment(dataclasses.replace(GROWS, momentum=0.5), own)
    (warning,) = warnings(given, given.make_plan())
    assert warning.startswith("plan.momentum is 0.5, but the optimizer is a function of the rate")
    left = experiment(GROWS, own)
    held = experiment(dataclasses.replace(GROWS, hold=Hold(momentum="half_life")), own)
    for silent in (left, held):
        assert not list(warnings(silent, silent.make_plan()))


def test_an_optimizer_that_wants_a_momentum_is_not_given_0():
    with pytest.raises(Mistake, match=r"function of \(rate, momentum\), but the plan gives no mom"):
        experiment(GROWS, lambda rate, momentum: optax.sgd(rate, momentum)).make_plan()


@pytest.mark.parametrize(
    ("optimizer", "hold", "said"),
    [
        (SGD(), Hold(momentum="half_life"), "SGD adds gradients up with weights that sum to 1/"),
        (LARS(), Hold(momentum="malladi"), "LARS adds gradients up"),
        (SGD(), "half_life", r"makes b2 follow.*optimizer that takes it, such as AdamW\(b2=0.95\)"),
        (Adam(), Hold(weight_decay="time_scale"), "makes weight_decay follow"),
        (optax.adamw, Hold(momentum="half_life"), "makes momentum follow.*but momentum is 0"),
    ],
)
def test_what_an_optimizer_cannot_follow_is_refused(optimizer, hold, said):
    plan = dataclasses.replace(GROWS, hold=hold, scaling=None)
    if isinstance(optimizer, SGD | LARS) and isinstance(hold, Hold):
        plan = dataclasses.replace(plan, momentum=0.9)
    held = experiment(plan, optimizer)
    with pytest.raises(Mistake, match=said):
        check(held, held.make_plan(), 1)


def test_sgds_weight_decay_follows():
    """L2 at p = 1/2 takes λ√κ."""
    plan = dataclasses.replace(GROWS, hold=Hold(weight_decay="time_scale"))
    held = experiment(plan, SGD(weight_decay=0.1)).make_plan()
    found = [held.at(phase.first_update).weight_decay for phase in held.phases]
    assert found == pytest.approx([0.1, 0.1 * 2**0.5, 0.1 * 3**0.5])


@pytest.mark.slow
def test_what_follows_is_checked_and_measured_too():
    """By `jbatch check`, on one device and on two, and by `jbatch bench`."""
    follows = experiment(dataclasses.replace(HELD, batch_size=48, batch_sizes=(48, 96)))
    failed = [each for each in check_experiment(follows, jax.devices()[:2]) if not each.passed]
    assert not failed
    assert next(speeds(follows, 0.05, 1)).batch_size == 48
