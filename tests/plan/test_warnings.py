"""What a plan warns of, and what it takes."""

import re

import numpy as np
import optax
import pytest

import jbatch
from couplings import GOOD, STEP
from jbatch.plan.table import plan_text


def test_a_restart_keeps_the_batch_and_warns_of_the_rate():
    cycle = {"init_value": 1.0, "peak_value": 1.0, "decay_steps": 5, "warmup_steps": 1}
    plan = jbatch.couple(
        optax.sgdr_schedule([cycle, cycle]),
        num_examples=10_000,
        num_epochs=10,
        batch_size=10,
        growth_factor=2,
        max_batch_size=80,
    )
    assert plan.at(plan.num_updates - 1).batch_size == 80
    [warning] = [warning for warning in plan.warnings if "peak" in warning]
    assert "epoch 5" in warning
    assert "8 times" in warning


@pytest.mark.parametrize(
    ("arguments", "largest"),
    [
        ({"growth_factor": 2, "schedule": optax.cosine_decay_schedule(0.1, 11_700)}, 640),
        ({"ramp": {0: 10, 100: 80}}, 80),
        ({"ramp": {0: 10, 100: 80}, "base_batch_size": 5, "adapt_regime": True}, 80),
    ],
)
def test_a_batch_that_never_grows_is_said(arguments, largest):
    plan = jbatch.couple(**(GOOD | {"growth_factor": None} | arguments))
    assert re.match(f"the batch never grows, .*{largest} is allowed.* 0 to 3", plan.warnings[0])
    still = jbatch.couple(**(GOOD | {"growth": 0}))  # which asks for no growth
    assert not still.warnings


def test_a_ramp_under_the_schedules_peak_is_no_reason_to_warn():
    ramp = {"growth_factor": None, "ramp": {0: 10, 1: 20, 2: 40}, "scaling": 0.5}
    cosine = {"schedule": optax.cosine_decay_schedule(0.1, 3), "num_examples": 10_000}
    assert not jbatch.couple(**(GOOD | ramp | cosine | {"base_batch_size": 40})).warnings
    [warning] = jbatch.couple(**(GOOD | ramp | cosine)).warnings
    assert "times the schedule's own peak: the ramp grows the batch more than" in warning
    assert "max_batch_size" not in warning


def test_a_larger_first_batch_is_no_reason_to_warn():
    change = {"growth_factor": None, "batch_size": 40, "base_batch_size": 10}
    assert not jbatch.couple(**(GOOD | change)).warnings


def test_updates_that_learn_nothing_are_said():
    schedule = optax.cosine_decay_schedule(0.1, 20)
    plan = jbatch.couple(schedule, num_examples=1000, num_epochs=50, batch_size=100)
    [warning] = plan.warnings
    assert warning.startswith("300 of 500 updates, between epochs 20 and 50, are at rate 0")
    warm_up = optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 50)
    assert not jbatch.couple(warm_up, num_examples=1000, num_epochs=50, batch_size=100).warnings


def test_the_end_of_a_long_cosine_is_no_reason_to_warn():
    cosine = optax.cosine_decay_schedule(0.1, 20)
    plan = jbatch.couple(cosine, num_examples=10_000, num_epochs=20, batch_size=10)
    assert plan.learning_rates[-1] == 0
    assert not plan.warnings


def test_a_decaying_twin_of_too_many_updates_is_left_out():
    coupling = jbatch.Coupling(
        schedule=STEP,
        num_examples=1_281_167,
        num_epochs=90,
        batch_size=1024,
        base_batch_size=8,
    )
    assert 100_000 < coupling.plan().num_updates < 120_000
    assert coupling.decaying_plan() is None
    assert "saved" not in plan_text(coupling.plan(), coupling.decaying_plan())


def test_without_sizes_the_batch_stays():
    plan = jbatch.couple(**(GOOD | {"growth_factor": None}))
    assert set(plan.batch_sizes) == {10}
    assert not plan.warnings


@pytest.mark.parametrize(
    "change",
    [
        {"num_examples": np.int64(1000), "batch_size": np.int32(10), "num_epochs": np.float32(3)},
        {"momentum": np.float32(0.5)},
        {"growth_factor": 0.2 / 0.1},
        {"growth_factor": 0.3 / 0.1},
        {"growth_factor": None, "batch_sizes": range(10, 41, 10)},
        {"growth_factor": None, "batch_sizes": np.array([10, 20])},
        {"growth_factor": None, "ramp": {np.float64(0): np.int64(10)}},
    ],
    ids=str,
)
def test_numbers_of_numpy_and_sequences_are_taken(change):
    plan = jbatch.couple(**(GOOD | change))
    assert type(plan.momentum) is type(plan.num_epochs) is float
    assert plan.batch_sizes[0] == 10


def test_warnings_name_the_numbers():
    schedule = optax.piecewise_constant_schedule(0.1, {60: 0.2, 120: 0.2, 160: 0.2})
    plan = jbatch.couple(
        schedule,
        num_examples=50_000,
        num_epochs=200,
        batch_size=128,
        growth_factor=5,
        max_batch_size=16_000,
        momentum=0.9,
    )
    size, transient = plan.warnings
    assert "epoch 160" in size
    assert "32%" in size
    assert "5,000" in size
    assert "3.2 epochs" in transient
