"""The coupling: its properties for any schedule, and the paper's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jbatch
from jbatch.plan import batch_sizes
from jbatch.plan import schedule as schedules
from jbatch.plan.measure import make_measure
from jbatch.plan.walk import LONG

CONSTANT = optax.constant_schedule(0.1)  # made once: it compiles once

# ---- properties -----------------------------------------------------------------------------

peaks = st.floats(1e-3, 10)
epochs_ = st.integers(2, 12)


@st.composite
def schedules_over(draw, num_epochs):
    """(name, an optax schedule over `num_epochs` epochs)."""
    peak = draw(peaks)
    kind = draw(st.sampled_from(["steps", "cosine", "exponential", "warm-up", "sgdr", "constant"]))
    if kind == "steps":
        at = draw(st.lists(st.integers(1, num_epochs), min_size=1, max_size=4, unique=True))
        factor = draw(st.floats(0.05, 0.9))
        return kind, optax.piecewise_constant_schedule(peak, dict.fromkeys(at, factor))
    if kind == "cosine":
        return kind, optax.cosine_decay_schedule(peak, num_epochs)
    if kind == "exponential":
        return kind, optax.exponential_decay(peak, 1, draw(st.floats(0.3, 0.99)))
    if kind == "warm-up":
        return kind, optax.warmup_cosine_decay_schedule(0.0, peak, 1, num_epochs, peak / 100)
    if kind == "sgdr":
        cycle = {
            "init_value": peak / 10,
            "peak_value": peak,
            "decay_steps": max(2, num_epochs // 2),
            "warmup_steps": 1,
        }
        return kind, optax.sgdr_schedule([cycle, cycle])
    return kind, optax.constant_schedule(peak)


@st.composite
def couplings(draw):
    """Keyword arguments of couple, with every way of choosing sizes."""
    num_examples = draw(st.integers(20, 3000))
    num_epochs = draw(epochs_)
    batch_size = draw(st.integers(1, max(1, num_examples // 4)))
    scaling = draw(st.sampled_from([1.0, 0.5]))
    arguments = {
        "schedule": draw(schedules_over(num_epochs))[1],
        "num_examples": num_examples,
        "num_epochs": num_epochs,
        "batch_size": batch_size,
        "momentum": draw(st.sampled_from([0.0, 0.9])),
        "scaling": scaling,
    }
    way = draw(st.sampled_from(["growth_factor", "batch_sizes", "batch_multiple", "ramp"]))
    larger = st.integers(batch_size + 1, num_examples)
    sizes = [batch_size, *sorted(draw(st.sets(larger, max_size=4)))]
    if way == "growth_factor":
        arguments[way] = draw(st.integers(2, 6))
    elif way == "batch_sizes":
        arguments[way] = sizes
    elif way == "batch_multiple":
        arguments[way] = batch_size
    else:
        at = sorted(
            draw(
                st.sets(
                    st.floats(0.1, num_epochs), min_size=len(sizes) - 1, max_size=len(sizes) - 1
                )
            )
        )
        arguments[way] = dict(zip([0, *at], sizes, strict=True))
    if way != "ramp":
        arguments["growth"] = draw(st.sampled_from([0.0, 0.5, 1.0, 1 / scaling]))
        arguments["max_batch_size"] = draw(
            st.one_of(st.none(), st.integers(batch_size, num_examples))
        )
    return arguments


def reference(arguments):
    """The recurrence of couple's definition, one look-up at a time."""
    n, first = arguments["num_examples"], arguments["batch_size"]
    read = schedules.reader(arguments["schedule"], make_measure("epochs", n, None, first))
    if "ramp" in arguments:
        ramp = arguments["ramp"]

        def wanted(epoch, _):
            return ramp[max(start for start in ramp if start <= epoch)]
    else:
        sizes = batch_sizes.allowed_sizes(
            limit=n,
            of="an epoch",
            batch_size=first,
            **{
                name: arguments.get(name)
                for name in ("max_batch_size", "growth_factor", "batch_sizes", "batch_multiple")
            },
        ).tolist()

        def wanted(_, s):
            q = arguments["growth"]
            limit = first * (1 + 1e-5) * (s**-q if s else (np.inf if q else 1))
            return max(size for size in sizes if size <= limit)

    x, batch, peak, rows = 0, first, 0.0, []
    while x < arguments["num_epochs"] * n:
        v = read(np.array([x / n]), peak)[0]
        peak = max(peak, v)
        b = max(batch, wanted(x / n, v / peak if peak else 1.0))
        if x % n + b > n:
            x = (x // n + 1) * n
            continue
        batch = b
        rows.append((x, b, np.float32(v * (b / first) ** arguments["scaling"])))
        x += b
    return rows


@given(couplings())
def test_plan_is_the_recurrence(arguments):
    # Small enough to be looked up one by one, whatever hypothesis drew.
    n, epochs = arguments["num_examples"], arguments["num_epochs"]
    arguments["num_epochs"] = min(epochs, max(1, 300 * arguments["batch_size"] // n))
    plan = jbatch.couple(**arguments)
    rows = list(zip(plan.positions, plan.batch_sizes, plan.learning_rates, strict=True))
    assert rows == reference(arguments)


@settings(max_examples=20)
@given(couplings())
def test_a_stream_is_one_epoch_as_long_as_the_run(arguments):
    n = arguments.pop("num_examples")
    epochs = arguments.pop("num_epochs")
    schedule = arguments.pop("schedule")
    ramp = {start * n: size for start, size in arguments.pop("ramp", {}).items()}
    arguments |= {"unit": "examples", "length": n, "ramp": ramp or None}

    def over_examples(value):
        return schedule(value * (epochs / n))

    stream = jbatch.couple(over_examples, **arguments)
    epoch = jbatch.couple(over_examples, num_examples=n, **arguments)
    assert (stream.num_examples, epoch.num_examples) == (None, n)
    np.testing.assert_array_equal(stream.positions, epoch.positions)
    np.testing.assert_array_equal(stream.batch_sizes, epoch.batch_sizes)
    np.testing.assert_array_equal(stream.learning_rates, epoch.learning_rates)


@settings(max_examples=25)
@given(couplings(), st.floats(0.1, 10))
def test_a_base_batch_size_scales_every_rate_and_nothing_else(arguments, ratio):
    base = max(1, round(ratio * arguments["batch_size"]))
    plan, based = jbatch.couple(**arguments), jbatch.couple(**arguments, base_batch_size=base)
    np.testing.assert_array_equal(based.positions, plan.positions)
    np.testing.assert_array_equal(based.batch_sizes, plan.batch_sizes)
    factor = (arguments["batch_size"] / base) ** arguments["scaling"]
    np.testing.assert_allclose(based.learning_rates, plan.learning_rates * factor, rtol=2**-22)


@settings(max_examples=25)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.integers(1, 19), min_size=1, max_size=3, unique=True),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_an_adapted_regime_keeps_every_update(base, size, boundaries, scaling):
    arguments = {
        "schedule": optax.piecewise_constant_schedule(0.1, dict.fromkeys(boundaries, 0.5)),
        "num_examples": 4 * base * size,  # whole batches of both
        "num_epochs": 20,
        "scaling": scaling,
    }
    plan = jbatch.couple(**arguments, batch_size=base, batch_sizes=[base])
    adapted = jbatch.couple(
        **arguments,
        batch_size=size,
        batch_sizes=[size],
        base_batch_size=base,
        adapt_regime=True,
    )
    assert adapted.num_updates == plan.num_updates
    factor = (size / base) ** scaling
    np.testing.assert_allclose(adapted.learning_rates, plan.learning_rates * factor, rtol=2**-22)
    assert adapted.num_epochs == pytest.approx(20 * size / base, rel=1e-15)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(60, 5000), st.integers(1, 9))
def test_an_adapted_regime_keeps_updates_where_epochs_have_remainders(base, size, n, num_epochs):
    plan = jbatch.couple(
        CONSTANT,
        num_examples=n,
        num_epochs=num_epochs,
        batch_size=size,
        batch_sizes=[size],
        base_batch_size=base,
        adapt_regime=True,
    )
    # The last epoch ends with the update within which its share of examples ends.
    assert 0 <= plan.num_updates - num_epochs * (n // base) <= 1


def test_hoffers_regime_adaptation():
    # From batch 128 to 4,096: 32 times the epochs, the rate times √32 (arXiv 1705.08741).
    plan = jbatch.couple(
        optax.piecewise_constant_schedule(0.1, {10: 0.1}),
        num_examples=40_960,
        num_epochs=20,
        batch_size=4096,
        batch_sizes=[4096],
        scaling=0.5,
        base_batch_size=128,
        adapt_regime=True,
    )
    assert (plan.num_updates, plan.num_epochs) == (6400, 640)
    assert np.argmax(plan.learning_rates < 0.1 * 32**0.5 - 1e-6) == 3200
    np.testing.assert_allclose(plan.learning_rates[[0, -1]], [0.565685, 0.0565685], rtol=1e-5)


@given(couplings())
def test_rate_over_batch_power_is_the_schedules(arguments):
    plan = jbatch.couple(**arguments)
    p, first = plan.scaling, plan.batch_sizes[0]
    schedule = jax.jit(jax.vmap(lambda epoch: jnp.asarray(arguments["schedule"](epoch))))
    epochs = plan.positions / plan.num_examples
    down = epochs.astype(np.float32)
    down = np.where(down > epochs, np.nextafter(down, np.float32(0)), down)
    padded = np.zeros(-(-len(down) // 4096) * 4096, np.float32)  # few lengths, few compilations
    padded[: len(down)] = down
    with jax.numpy_dtype_promotion("standard"):
        values = np.asarray(schedule(padded), np.float64)[: len(down)]
    # One rounding to float32, of the product; what is within rounding of 0 is 0.
    peak = values.max()
    np.testing.assert_allclose(
        plan.learning_rates / plan.batch_sizes**p,
        values / first**p,
        rtol=2**-23,
        atol=2**-23 * peak / first**p,
    )


@given(couplings())
def test_batches_never_shrink_nor_overlap_and_skip_only_the_remainder(arguments):
    plan = jbatch.couple(**arguments)
    assert np.all(np.diff(plan.batch_sizes) >= 0)
    assert plan.batch_sizes[0] >= arguments["batch_size"]
    assert plan.batch_sizes[-1] <= (arguments.get("max_batch_size") or arguments["num_examples"])
    n = plan.num_examples
    ends = plan.positions + plan.batch_sizes
    gaps = np.append(plan.positions[1:], max(plan.end, plan.num_epochs * n)) - ends
    assert plan.positions[0] == 0
    assert np.all(plan.positions % n + plan.batch_sizes <= n)
    assert np.all(gaps >= 0)
    skipped = gaps > 0
    # What is skipped is the end of an epoch, and less than the next batch.
    next_sizes = np.append(plan.batch_sizes[1:], n)
    assert np.all((plan.positions + plan.batch_sizes + gaps)[skipped] % n == 0)
    assert np.all(gaps[skipped] < np.maximum(next_sizes, plan.batch_sizes)[skipped])


def test_warm_up_does_not_grow_the_batch():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 5, 20)
    plan = jbatch.couple(schedule, num_examples=1000, num_epochs=20, batch_size=10, growth_factor=2)
    during = plan.positions < 5 * 1000
    assert set(plan.batch_sizes[during]) == {10}
    assert plan.batch_sizes[-1] == 640  # 10 · 2⁶, the largest at most 1,000 …
    assert plan.learning_rates[-1] > 0


def test_zero_takes_the_largest_size():
    schedule = optax.piecewise_constant_schedule(1.0, {1: 0.0})
    plan = jbatch.couple(
        schedule, num_examples=100, num_epochs=2, batch_size=10, batch_sizes=[10, 20, 40]
    )
    assert [phase.batch_size for phase in plan.phases] == [10, 40]
    assert plan.learning_rates[-1] == 0


def test_no_update_before_a_boundary_sees_the_rate_after_it():
    # One example before epoch 30 of ImageNet is 30.0 in float32.
    n = 1_281_167
    read = schedules.reader(
        optax.piecewise_constant_schedule(1.0, {30: 0.1}), make_measure("epochs", n, None, 1)
    )
    before, at = read(np.array([(30 * n - 1) / n, 30 * n / n]), 1.0)
    assert (before, at) == (1.0, pytest.approx(0.1))


def test_a_million_updates_are_a_few_calls(monkeypatch):
    # The time itself is benchmarks/plan_building.py's; here, that the work stays small.
    calls = []
    evaluate = schedules._evaluate
    monkeypatch.setattr(schedules, "_evaluate", lambda *a: calls.append(1) or evaluate(*a))
    plan = jbatch.couple(
        optax.cosine_decay_schedule(0.1, 100),
        num_examples=640_000,
        num_epochs=100,
        batch_size=64,
        max_batch_size=64,
        growth_factor=2,
    )
    assert plan.num_updates == 1_000_000
    assert len(calls) <= 1_000_000 / LONG + 2


def test_learning_rate_is_an_optax_schedule_of_the_update():
    plan = jbatch.couple(
        optax.exponential_decay(0.1, 1, 0.5),
        num_examples=100,
        num_epochs=4,
        batch_size=10,
        growth_factor=2,
        max_batch_size=20,
    )
    counts = np.arange(plan.num_updates, dtype=np.int32)
    eager = [float(plan.learning_rate(int(count))) for count in counts]
    jitted = jax.jit(jax.vmap(plan.learning_rate))(counts)
    assert eager == [plan.at(int(count)).learning_rate for count in counts]
    np.testing.assert_array_equal(jitted, np.float32(eager))
    assert float(plan.learning_rate(plan.num_updates + 5)) == plan.at(int(counts[-1])).learning_rate
    # … in a loop that is none of ours
    with jax.numpy_dtype_promotion("standard"):
        sgd = optax.sgd(plan.learning_rate)
        params = {"w": np.float32(0)}
        state = sgd.init(params)
        for _ in range(plan.num_updates):
            updates, state = sgd.update({"w": np.float32(1)}, state, params)
            params = optax.apply_updates(params, updates)
    assert float(params["w"]) == pytest.approx(-float(plan.learning_rates.sum()), rel=1e-5)
