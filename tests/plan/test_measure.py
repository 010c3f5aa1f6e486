"""Units: the same plan, whatever its schedule counts."""

import json
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jbatch
from jbatch.plan.measure import make_measure, short
from jbatch.plan.plan import exactly
from jbatch.plan.saved import plan_bytes, plan_from
from jbatch.plan.table import plan_text

UNITS = ("epochs", "examples", "tokens", "updates")
TOKENS = 64
# One value each, so that they compile once.
CONSTANT = optax.constant_schedule(0.1)
DECAY = optax.exponential_decay(1.0, 100, 0.5)


@st.composite
def measures(draw):
    unit = draw(st.sampled_from(UNITS))
    base = draw(st.integers(1, 500))
    number = st.integers(base, 20_000)
    num_examples = draw(number if unit == "epochs" else st.one_of(st.none(), number))
    return make_measure(unit, num_examples, draw(st.integers(1, 9_000)), base)


@given(measures(), st.integers(0, 2**50))
def test_a_position_survives_its_unit(unit, position):
    counted = unit.examples(position)
    if unit.unit == "updates" and unit.num_examples:  # an epoch's remainder counts as its end
        each = unit.num_examples // unit.base * unit.base
        assert counted == position // unit.num_examples * each + min(
            position % unit.num_examples, each
        )
    else:
        assert counted == position
    assert unit.at(position) == pytest.approx(counted / float(unit.per), rel=1e-15)
    back = unit.position(unit.at(position))
    assert unit.examples(back) == counted
    np.testing.assert_array_equal(unit.examples(np.array([position, 0])), [counted, 0])


@given(
    st.integers(50, 2000),
    st.integers(1, 9),
    st.integers(1, 50),
    st.sampled_from([None, 2, 3]),
    st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
)
def test_a_schedule_means_the_same_in_every_unit(n, epochs, batch_size, growth_factor, drops):
    each = n // batch_size  # whole updates of an epoch
    sizes = {"batch_size": batch_size, "growth_factor": growth_factor, "num_examples": n}

    def plan(unit, per_epoch, **values):
        # NumPy, so a boundary is exact in float64, as in float32 at whole epochs.
        drop = sorted(at * per_epoch for at in drops)
        return jbatch.couple(
            lambda value: 0.1 * 0.5 ** float(np.searchsorted(drop, value, side="right")),
            **sizes,
            length=epochs * per_epoch,
            unit=unit,
            sequence_length=TOKENS,
            **values,
        )

    digests = {
        plan("epochs", 1).digest,
        plan("examples", n).digest,
        plan("tokens", n * TOKENS).digest,
        plan("updates", each).digest,
    }
    assert len(digests) == 1


@given(st.one_of(st.none(), st.integers(20, 500)), st.integers(1, 20), st.integers(1, 300))
def test_at_the_base_batch_a_schedule_over_updates_sees_each_update(n, batch_size, length):
    plan = jbatch.couple(
        DECAY,
        num_examples=n,
        unit="updates",
        length=length,
        batch_size=batch_size,
    )
    assert len(plan) == length
    assert [plan.measure.at(row.position) for row in plan] == list(range(length))
    np.testing.assert_allclose(plan.learning_rates, 0.5 ** (np.arange(length) / 100), rtol=1e-6)


def test_an_adapted_regime_counts_updates_of_the_first_batch():
    values = {"unit": "updates", "length": 600, "scaling": 0.5}
    schedule = optax.piecewise_constant_schedule(0.1, {300: 0.1})
    plan = jbatch.couple(schedule, **values, batch_size=32)
    adapted = jbatch.couple(
        schedule, **values, batch_size=128, base_batch_size=32, adapt_regime=True
    )
    assert len(adapted) == len(plan) == 600
    np.testing.assert_allclose(adapted.learning_rates, 2 * plan.learning_rates, rtol=1e-6)
    in_examples = jbatch.couple(
        lambda value: schedule(value / 32),
        unit="examples",
        length=600 * 32,
        scaling=0.5,
        batch_size=128,
        base_batch_size=32,
        adapt_regime=True,
    )
    assert in_examples.digest == adapted.digest


@st.composite
def streams(draw):
    """(sizes at starts, length): a ramp that may fall."""
    starts = sorted(draw(st.sets(st.integers(1, 5000), max_size=5)))
    sizes = [draw(st.integers(1, 60))]
    for _ in starts:
        sizes.append(draw(st.integers(1, 60).filter(lambda size: size != sizes[-1])))
    return dict(zip([0, *starts], sizes, strict=True)), draw(st.integers(60, 6000))


@given(streams(), st.one_of(st.none(), st.integers(60, 3000)))
def test_a_ramp_that_falls_is_the_recurrence(stream, n):
    ramp, length = stream
    plan = jbatch.couple(
        CONSTANT, num_examples=n, unit="examples", length=length, ramp=ramp, allow_shrink=True
    )
    epoch, position, rows = n or length, 0, []
    while position < length:
        size = ramp[max(start for start in ramp if start <= position)]
        if position % epoch + size > epoch:
            position = (position // epoch + 1) * epoch
            continue
        rows.append((position, size))
        position += size
    assert list(zip(plan.positions, plan.batch_sizes, strict=True)) == rows
    largest = max(size for _, size in rows)
    assert repr(plan).endswith(f"to {largest}>")


def test_a_stream_has_no_epochs():
    plan = jbatch.couple(
        optax.cosine_decay_schedule(0.1, 1_000_000),
        unit="tokens",
        length=1_000_000,
        sequence_length=100,
        batch_size=100,
        ramp={0: 100, 800_000: 2000},
        momentum=0.99,
        scaling=0.5,
    )
    assert plan.num_examples is plan.num_epochs is plan.at(5).epoch is plan.phases[0].first_epoch
    assert plan.end == 10_000
    assert not plan.warnings
    assert plan.batch_sizes[-1] == 2000  # of 10,000
    # ε/(1−m)/B, without N
    assert plan.noise_scale(0) == pytest.approx(0.1 / 0.01 / 100)
    assert "1 − B/N" not in plan_text(plan)
    assert plan.examples_per_epoch == plan.end  # the whole run is one
    plan.check(4, None)
    with pytest.raises(jbatch.Mistake, match=r"batch 100 does not divide over 8 devices: use 96"):
        plan.check(8, None)


def test_a_stream_of_which_much_is_left_out_says_so():
    plan = jbatch.couple(
        optax.cosine_decay_schedule(0.1, 10_000),
        unit="examples",
        length=10_000,
        batch_size=100,
        batch_sizes=[100, 300, 2000],
    )
    [warning] = plan.warnings
    assert warning.startswith("the run ends at 8,800 examples, because the last 12.0%")


def test_epochs_of_a_dataset_stay_in_other_units():
    values = {"num_examples": 1_000, "batch_size": 300, "sequence_length": 10}
    plan = jbatch.couple(CONSTANT, **values, unit="tokens", num_epochs=2)
    assert (plan.length, plan.num_epochs, len(plan)) == (20_000, 2, 6)
    assert plan.positions.tolist() == [0, 300, 600, 1000, 1300, 1600]  # remainders are skipped
    size, *_ = plan.warnings
    assert size.startswith("from 0 tokens on, the batch is over N/10 = 100 examples")
    assert plan.crossings(1, "epochs") == {3, 6}
    assert plan.crossings(5_000) == {2, 3, 5, 6}


@given(measures(), st.integers(1, 3000), st.floats(0.01, 1e5))
def test_crossings_are_what_whole_numbers_say_in_every_unit(unit, length, every):
    plan = jbatch.couple(
        CONSTANT,
        num_examples=unit.num_examples,
        batch_size=unit.base,
        unit=unit.unit,
        sequence_length=unit.sequence_length,
        length=max(1.0, unit.at(min(length, 300) * unit.base)),
    )
    step = exactly(every) * unit.per
    counted = [unit.examples(position) for position in [*plan.positions.tolist(), plan.end]]
    crossed = {
        update
        for update in range(1, len(counted))
        if Fraction(counted[update]) // step > Fraction(counted[update - 1]) // step
    }
    assert plan.crossings(every) == crossed | {len(plan)}


def test_counts_past_float32_are_told_apart():
    # 2⁴⁰ tokens and one example less are the same in float32.
    plan = jbatch.couple(
        optax.piecewise_constant_schedule(1.0, {2**40: 0.1}),
        unit="tokens",
        sequence_length=1024,
        length=2**40 + 2**30,
        batch_size=2**19,
    )
    before = plan.learning_rates[plan.positions < 2**30]
    assert len(before) == 2**30 // 2**19
    assert set(before) == {1}
    assert plan.learning_rates[len(before)] == np.float32(0.1)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (999_949, "999,949"),
        (999_960, "1M"),
        (4.8e9, "4.8B"),
        (4_800_839_680, "4.801B"),
        (999_999_999, "1B"),
        (15.6e12, "15.6T"),
        (2e15, "2000T"),
    ],
)
def test_counts_are_short(count, said):
    assert short(count) == said


def test_a_plan_is_its_rows():
    plan = jbatch.couple(CONSTANT, num_examples=100, num_epochs=2, batch_size=20)
    assert len(plan) == plan.num_updates == 10
    assert list(plan) == [plan.at(update) for update in range(10)]


def test_json_has_the_first_example_and_token_of_each_phase():
    values = {"batch_size": 16, "length": 10e6, "unit": "tokens", "sequence_length": 1000}
    plan = jbatch.couple(CONSTANT, **values, ramp="0:16 4M:32 8M:48")
    described = json.loads(plan.to_json())
    assert (described["unit"], described["length"], described["num_examples"]) == (
        "tokens",
        10e6,
        None,
    )
    starts = [(phase["first_example"], phase["first_token"]) for phase in described["phases"]]
    assert starts == [(0, 0), (4000, 4_000_000), (8000, 8_000_000)]
    assert {phase["first_epoch"] for phase in described["phases"]} == {None}
    of_epochs = jbatch.couple(CONSTANT, num_examples=100, num_epochs=2, batch_size=20)
    [phase] = json.loads(of_epochs.to_json())["phases"]
    assert (phase["first_example"], phase["first_token"], phase["first_epoch"]) == (0, None, 0)


@pytest.mark.parametrize("unit", UNITS)
def test_a_saved_plan_keeps_its_unit(unit):
    n = None if unit == "updates" else 1000
    values = {"num_examples": n, "sequence_length": TOKENS, "batch_size": 20}
    plan = jbatch.couple(CONSTANT, **values, unit=unit, length=50 if unit != "tokens" else 9000)
    again = plan_from(plan_bytes(plan))
    assert (again.measure, again.length, again.end) == (plan.measure, plan.length, plan.end)
    assert again.digest == plan.digest
    assert str(again) == str(plan)


def test_multi_steps_takes_the_plans_updates():
    plan = jbatch.couple(
        optax.constant_schedule(0.1), num_examples=160, num_epochs=2, ramp={0: 8, 1: 16}
    )
    every = plan.every(4)
    assert [every(update) for update in range(len(plan) + 2)] == [2] * 20 + [4] * 12
    np.testing.assert_array_equal(jax.jit(every)(jnp.array([0, 19, 20, 99])), [2, 2, 4, 4])
    with pytest.raises(jbatch.Mistake, match=r"micro_batch 3 .* divisor of all sizes, at most 8"):
        plan.every(3)

    # … and the same parameters as whole batches, of the loss (w − x)²/2.
    examples = np.random.default_rng(0).normal(size=160).astype(np.float32)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = optax.MultiSteps(optax.sgd(plan.learning_rate), every)
        params = jnp.float32(0)
        state = optimizer.init(params)
        step = jax.jit(optimizer.update)
        for start in [*range(0, 160, 4), *range(0, 160, 4)]:
            gradient = params - examples[start : start + 4].mean()
            updates, state = step(gradient, state, params)
            params = optax.apply_updates(params, updates)
        assert int(state.gradient_step) == len(plan)
    whole = np.float32(0)
    for row in plan:
        place = row.position % 160
        batch = examples[place : place + row.batch_size]
        whole -= np.float32(row.learning_rate) * (whole - batch.mean())
    assert float(params) == pytest.approx(float(whole), rel=1e-5)


def test_a_coupling_takes_a_stream_and_a_ramp_as_text():
    values = {"unit": "tokens", "length": 10e6, "sequence_length": 1000, "ramp": "0:16 4M:32 8M:48"}
    coupling = jbatch.Coupling(CONSTANT, **values, scaling=0.0)
    plan = coupling.plan()
    assert plan.digest == jbatch.couple(CONSTANT, **values, scaling=0.0).digest
    decaying = coupling.decaying.plan()
    assert set(decaying.batch_sizes) == {16}
    assert len(decaying) == 625
    halved = jbatch.Coupling(lambda t: 0.1 if t < 5e6 else 0.05, **values, rate=0.5).plan()
    assert halved.learning_rates[0] == np.float32(0.05)
    with pytest.raises(jbatch.Mistake, match="num_examples is not given: give it, or"):
        jbatch.Coupling(CONSTANT, num_epochs=2, batch_size=16).plan()
    with pytest.raises(jbatch.Mistake, match="num_examples is not given: give it, or"):
        jbatch.Coupling(CONSTANT, num_epochs=2, batch_size=16, unit="examples").plan()
