"""The look-up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import jbatch
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Coupling
from jbatch.plan.plan import exactly
from jbatch.plan.table import plan_json, plan_text

# Made once: each schedule compiles once.
HALVED, CONSTANT = optax.exponential_decay(0.1, 1, 0.5), optax.constant_schedule(0.1)


def plan_of(batch_sizes, num_examples=1000, momentum=0.9):
    return jbatch.couple(
        HALVED,
        num_examples=num_examples,
        num_epochs=6,
        batch_size=batch_sizes[0],
        batch_sizes=batch_sizes,
        momentum=momentum,
    )


@given(st.sets(st.integers(7, 300), min_size=1, max_size=5), st.integers(300, 1000))
def test_at_is_right_on_both_sides_of_every_boundary(sizes, num_examples):
    plan = plan_of(sorted(sizes), num_examples)
    assert sum(phase.updates for phase in plan.phases) == plan.num_updates
    for phase in plan.phases:
        last = phase.first_update + phase.updates - 1
        for update in {phase.first_update, last}:
            row = plan.at(update)
            assert row.update == update
            assert row.phase == phase.index
            assert row.batch_size == phase.batch_size == plan.batch_sizes[update]
            assert row.position == plan.positions[update]
            assert row.epoch == row.position / num_examples
            assert row.momentum == 0.9
        assert plan.at(phase.first_update).epoch == phase.first_epoch
        assert phase.learning_rate == (
            plan.at(phase.first_update).learning_rate,
            plan.at(last).learning_rate,
        )
        if phase.index:
            before = plan.at(phase.first_update - 1)
            assert before.phase == phase.index - 1
            assert before.batch_size < phase.batch_size


def test_at_refuses_what_is_outside():
    plan = plan_of([10])
    for update in (-1, plan.num_updates):
        with pytest.raises(IndexError, match=f"update {update} is outside"):
            plan.at(update)


def test_noise_scale():
    plan = plan_of([10])
    # ε/(1−m) · (N/B − 1) = 0.1/0.1 · (1000/10 − 1)
    assert plan.noise_scale(0) == pytest.approx(99, rel=1e-6)


def test_plan_is_immutable():
    plan = plan_of([10])
    with pytest.raises(ValueError, match="read-only"):
        plan.learning_rates[0] = 1


def test_as_text_it_is_its_table():
    plan = plan_of([10, 20])
    assert f"{plan}\n" == plan_text(plan)
    assert f"{plan.num_updates} updates\nNoise scale" in plan_text(plan)
    assert repr(plan) == f"<Plan of {plan.num_updates} updates, batches of 10 to 20>"


def test_digest_is_of_the_rows():
    assert plan_of([10, 20]).digest == plan_of([10, 20]).digest
    digests = {plan_of([10, 20]).digest, plan_of([10]).digest, plan_of([10, 20], momentum=0).digest}
    assert len(digests) == 3


def test_check_names_every_size_and_the_nearest_that_divide():
    plan = plan_of([100, 200])
    plan.check(4, None)
    with pytest.raises(jbatch.Mistake) as caught:
        plan.check(16, None)
    assert str(caught.value) == (
        "batch 100 does not divide over 16 devices: use 96 or 112; "
        "batch 200 does not divide over 16 devices: use 192 or 208"
    )


def test_check_refuses_ghost_batches_that_do_not_fit():
    plan = plan_of([128, 200])
    with pytest.raises(jbatch.Mistake, match=r"200 is not made .* use 128 or 256"):
        plan.check(1, 128)


def test_json_holds_the_phases():
    plan = plan_of([10, 40])
    values = plan_json(plan, plan_of([10]))
    assert values["num_updates"] == plan.num_updates == sum(p["updates"] for p in values["phases"])
    first, second = values["phases"]
    assert first["learning_rate"][0] == first["peak_learning_rate"] == 0.1
    assert (first["batch_size"], second["batch_size"]) == (10, 40)
    assert second["first_epoch"] == plan.phases[1].first_epoch
    assert first["momentum"] == 0.9


def test_text_shows_where_the_rate_jumps():
    plan = jbatch.couple(
        optax.piecewise_constant_schedule(0.1, {2: 0.5, 4: 0.5}),
        num_examples=1000,
        num_epochs=6,
        batch_size=10,
        growth_factor=2,
        max_batch_size=10,
    )
    lines = plan_text(plan).splitlines()
    assert [line.split()[1:4] for line in lines if "·  " in line[:5]] == [
        ["0", "–", "2"],
        ["2", "–", "4"],
        ["4", "–", "6"],
    ]


def test_smooth_decay_has_no_jumps_and_hundreds_of_phases_are_cut():
    plan = jbatch.couple(
        optax.cosine_decay_schedule(0.1, 20),
        num_examples=100_000,
        num_epochs=20,
        batch_size=10,
        batch_multiple=10,
        max_batch_size=10_000,
    )
    text = plan_text(plan)
    assert "  ·" not in text
    assert f"… {len(plan.phases) - 59} rows more" in text
    assert np.all(np.diff([phase.batch_size for phase in plan.phases]) > 0)


def rows(text):
    """Of the table in a plan's text."""
    body = text.partition("──\n")[2]
    return body[: body.index("\n\n")].splitlines()


STAIRCASE = {
    # A schedule over updates of 30 examples, given for epochs.
    "schedule": lambda epoch: UPDATES(jnp.floor(epoch * 300)),
    "num_examples": 9_000,
    "num_epochs": 9,
    "batch_size": 3,
}
UPDATES = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 200, 2_700)


def test_a_schedule_over_updates_in_stairs_is_found():
    plan = jbatch.couple(**STAIRCASE)
    assert len(rows(plan_text(plan))) == 1
    [warning] = [warning for warning in plan.warnings if "staircase" in warning]
    assert "every 30 examples" in warning
    assert 'unit="updates" and base_batch_size=30' in warning
    told = {"schedule": UPDATES, "num_epochs": None, "length": 2_700, "unit": "updates"}
    smooth = jbatch.couple(**(STAIRCASE | told), base_batch_size=30, scaling=0.0)
    assert not any("staircase" in warning for warning in smooth.warnings)
    with jax.numpy_dtype_promotion("standard"):
        rates = jax.vmap(UPDATES)(jnp.arange(2_700.0))
    np.testing.assert_allclose(smooth.learning_rates[::10], rates, rtol=1e-4, atol=1e-9)


def test_a_schedule_over_updates_as_it_is_is_found():
    values = {"num_examples": 9_000, "num_epochs": 9, "batch_size": 30}
    for schedule in (
        UPDATES,
        optax.cosine_decay_schedule(0.1, 2_700),
        optax.piecewise_constant_schedule(0.1, {900: 0.1, 1800: 0.1}),
        optax.linear_schedule(0.1, 0.0, 2_500),
    ):
        [warning] = jbatch.couple(schedule, **values, growth_factor=2).warnings
        assert warning.endswith('give unit="updates" and length=2700 in place of num_epochs')


OVER_EPOCHS = (  # of a run of 90 epochs, also where it is cut short
    optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 90),
    optax.piecewise_constant_schedule(0.1, {30: 0.1, 60: 0.1}),
    optax.exponential_decay(0.1, 1, 0.99),
    optax.exponential_decay(0.1, 1, 0.94, staircase=True),
    CONSTANT,
    optax.linear_schedule(0.1, 0.0, 90),
)


@pytest.mark.parametrize("num_epochs", [0.3, 1, 5, 90])
def test_a_schedule_over_epochs_is_not_taken_for_one_over_updates(num_epochs):
    values = {"num_examples": 9_000, "num_epochs": num_epochs, "batch_size": 30}
    for schedule in OVER_EPOCHS:
        said = " ".join(jbatch.couple(schedule, **values).warnings)
        assert "count updates" not in said
        assert "staircase" not in said


@pytest.mark.parametrize("steps", [30, 100, 3000])
def test_no_table_is_longer_than_sixty_rows(steps):
    plan = jbatch.couple(
        optax.exponential_decay(0.1, 9 / steps, 0.99, staircase=True),
        num_examples=9_000,
        num_epochs=9,
        batch_size=3,
    )
    assert len(rows(plan_text(plan))) == (31 if steps == 30 else 1)
    grown = jbatch.couple(
        optax.exponential_decay(0.1, 9 / steps, 0.99, staircase=True),
        num_examples=9_000,
        num_epochs=9,
        batch_size=3,
        batch_multiple=3,
    )
    assert len(rows(plan_text(grown))) <= 60
    assert ("rows more (--json has all phases)" in plan_text(grown)) == (len(grown.phases) > 60)


def test_a_phase_shows_its_highest_rate():
    plan = jbatch.couple(
        optax.warmup_cosine_decay_schedule(0.0, 0.4, 5, 20),
        num_examples=1000,
        num_epochs=20,
        batch_size=10,
        growth_factor=2,
        max_batch_size=20,
    )
    assert "0 → 0.4 → 0.2" in rows(plan_text(plan))[0]
    assert plan_json(plan, plan)["phases"][0]["peak_learning_rate"] == 0.4


@pytest.mark.parametrize("size", [10, 25, 40, 160])
def test_updates_are_counted_against_the_batch_that_the_schedule_is_for(size):
    coupling = Coupling(
        optax.constant_schedule(0.1),
        num_examples=1000,
        num_epochs=10,
        batch_size=size,
        base_batch_size=40,
    )
    plan, decaying = coupling.plan(), coupling.decaying.plan()
    assert decaying.num_updates == 250
    said = f"{plan.num_updates:,} updates; with the batch kept at 40 and the rate decayed, 250"
    more = {10: ": 4 times as many", 25: ": 60.0% more", 40: "", 160: ": 76.0% saved"}[size]
    assert f"{said}{more}\n" in plan_text(plan, decaying)


def test_one_is_one():
    plan = jbatch.couple(optax.constant_schedule(0.1), num_examples=8, num_epochs=1, batch_size=8)
    assert plan_text(plan).startswith("N = 8 examples, 1 epoch, ")
    assert "\n1 update\n" in plan_text(plan)


@given(
    st.integers(1, 2_000_000),
    st.integers(1, 5_000),
    st.floats(0.01, 30),
    st.one_of(st.sampled_from([0.05, 0.1, 0.2, 0.25, 1 / 3, 2 / 3, 1.1]), st.floats(1e-6, 40)),
)
def test_crossings_are_what_whole_numbers_say(num_examples, batch_size, num_epochs, every):
    batch_size = max(min(batch_size, num_examples), num_examples // 500 or 1)
    assume(num_epochs * num_examples >= batch_size)
    plan = jbatch.couple(
        CONSTANT, num_examples=num_examples, num_epochs=num_epochs, batch_size=batch_size
    )
    step = exactly(every) * num_examples
    assert abs(float(step / num_examples) / every - 1) < 1e-3 or every < 1e-3
    positions = [*plan.positions.tolist(), plan.end]
    crossed = {
        update
        for update in range(1, len(positions))
        if positions[update] // step > positions[update - 1] // step
    }
    assert plan.crossings(every) == crossed | {plan.num_updates}


@pytest.mark.parametrize("every", [0.05, 0.1, 0.2, 0.4, 0.8, 1 / 3])
def test_an_interval_that_divides_an_epoch_ends_with_it(every):
    n, size = 1_281_167, 8_192
    plan = jbatch.couple(
        optax.constant_schedule(0.1), num_examples=n, num_epochs=8, batch_size=size
    )
    ends = {epoch * (n // size) for epoch in range(4, 9, 4)}
    assert ends <= plan.crossings(every)


def test_an_interval_under_an_example_ends_with_every_update():
    assert plan_of([10]).crossings(1e-300) == frozenset(range(1, 601))


def test_a_rate_multiplies_the_schedule():
    values = {"num_examples": 1000, "num_epochs": 4, "batch_size": 50, "growth_factor": 2}
    schedule = optax.cosine_decay_schedule(0.1, 4)
    plan, tripled = (Coupling(schedule, rate=rate, **values).plan() for rate in (1, 3))
    np.testing.assert_array_equal(tripled.batch_sizes, plan.batch_sizes)
    np.testing.assert_allclose(tripled.learning_rates, 3 * plan.learning_rates, rtol=1e-6)
    with pytest.raises(Mistake, match=r"rate is -1.0: give a value over 0"):
        Coupling(schedule, rate=-1, **values).plan()
