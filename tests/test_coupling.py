"""The coupling: its properties for any schedule, and the paper's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jbatch
from jbatch.plan import batch_sizes
from jbatch.plan import schedule as schedules
from jbatch.run.reopen import load_experiment_file

EXPERIMENTS = Path(__file__).parent.parent / "experiments"

# name → (variant's updates, batch and rate of each interval between the schedule's steps)
DECAYING = (78_000, [(128, 0.1), (128, 0.02), (128, 0.004), (128, 0.0008)])
HYBRID = (34_320, [(128, 0.1), (640, 0.1), (640, 0.02), (640, 0.004)])
INCREASING = (28_800, [(128, 0.1), (640, 0.1), (3200, 0.1), (16_000, 0.1)])
STEPS_51 = (0, 60, 120, 160)
STEPS_53 = (0, 30, 60, 80)
PAPER = [
    *[
        ("cifar10_annealing", f"{name}-{schedule}", STEPS_51, expected)
        for name in ("sgd", "momentum", "nesterov")
        for schedule, expected in (
            ("decaying", DECAYING),
            ("hybrid", HYBRID),
            ("increasing", INCREASING),
        )
    ],
    ("cifar10_effective_lr", "original", STEPS_51, DECAYING),
    (
        "cifar10_effective_lr",
        "increasing-batch",
        STEPS_51,
        (29_040, [(128, 0.1), (640, 0.1), (3200, 0.1), (5120, 0.032)]),
    ),
    (
        "cifar10_effective_lr",
        "increased-initial-rate",
        STEPS_51,
        (6_300, [(640, 0.5), (3200, 0.5), (5120, 0.16), (5120, 0.032)]),
    ),
    (
        "cifar10_effective_lr",
        "increased-momentum",
        STEPS_51,
        (2_160, [(3200, 0.5), (5120, 0.16), (5120, 0.032), (5120, 0.0064)]),
    ),
    (
        "imagenet_inception",
        "decaying",
        STEPS_53,
        (14_040, [(8192, 3), (8192, 0.3), (8192, 0.03), (8192, 0.003)]),
    ),
    (
        "imagenet_inception",
        "increasing",
        STEPS_53,
        (5_580, [(8192, 3), (81_920, 3), (81_920, 0.3), (81_920, 0.03)]),
    ),
    (
        "imagenet_inception",
        "momentum-900",
        STEPS_53,
        (5_820, [(8192, 3), (65_536, 2.4), (65_536, 0.24), (65_536, 0.024)]),
    ),
    (
        "imagenet_inception",
        "momentum-950",
        STEPS_53,
        (3_480, [(16_384, 3), (65_536, 1.2), (65_536, 0.12), (65_536, 0.012)]),
    ),
    (
        "imagenet_inception",
        "momentum-975",
        STEPS_53,
        (2_310, [(32_768, 3), (65_536, 0.6), (65_536, 0.06), (65_536, 0.006)]),
    ),
    (
        "imagenet_resnet50",
        "half-pod",
        (5, 30, 60, 80),
        (14_040, [(8192, 3.2), (8192, 0.32), (8192, 0.032), (8192, 0.0032)]),
    ),
    (
        "imagenet_resnet50",
        "growing-pod",
        (5, 30, 60, 80),
        (9_360, [(8192, 3.2), (16_384, 0.64), (16_384, 0.064), (16_384, 0.0064)]),
    ),
    (
        "imagenet_resnet50",
        "full-pod",
        (5, 30, 60, 80),
        (7_020, [(16_384, 6.4), (16_384, 0.64), (16_384, 0.064), (16_384, 0.0064)]),
    ),
]


@pytest.mark.parametrize(
    ("file", "variant", "steps", "expected"), PAPER, ids=[f"{p[0]}-{p[1]}" for p in PAPER]
)
def test_counts_batches_and_rates_of_the_paper(file, variant, steps, expected):
    experiment = load_experiment_file(EXPERIMENTS / f"{file}.py").variant(variant)
    plan = experiment.plan.plan()
    updates, intervals = expected
    assert plan.num_updates == updates
    for epoch, (batch_size, learning_rate) in zip(steps, intervals, strict=True):
        first = int(np.searchsorted(plan.positions, epoch * plan.num_examples))
        row = plan.at(first)
        assert row.position == epoch * plan.num_examples
        assert row.batch_size == batch_size
        assert row.learning_rate == pytest.approx(learning_rate, rel=1e-6)


def test_adam_has_the_same_counts_at_a_hundredth_of_the_rate():
    file = load_experiment_file(EXPERIMENTS / "cifar10_annealing.py")
    for schedule, (updates, intervals) in (
        ("decaying", DECAYING),
        ("hybrid", HYBRID),
        ("increasing", INCREASING),
    ):
        plan = file.variant(f"adam-{schedule}").plan.plan()
        assert plan.num_updates == updates
        assert plan.at(updates - 1).batch_size == intervals[-1][0]
        assert plan.at(updates - 1).learning_rate == pytest.approx(intervals[-1][1] / 100, rel=1e-6)


def test_effective_rates_start_at_the_papers_noise_scale():
    file = load_experiment_file(EXPERIMENTS / "cifar10_effective_lr.py")
    scales = [variant.plan.plan().noise_scale(0) for variant in file.variants.values()]
    assert scales == pytest.approx([389.625, 389.625, 385.625, 365.625], rel=1e-6)


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
    read = schedules.reader(arguments["schedule"])
    if "ramp" in arguments:
        ramp = arguments["ramp"]

        def wanted(epoch, _):
            return ramp[max(start for start in ramp if start <= epoch)]
    else:
        sizes = batch_sizes.allowed_sizes(
            num_examples=n,
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


@given(couplings(), st.floats(0.1, 10))
def test_a_base_batch_size_scales_every_rate_and_nothing_else(arguments, ratio):
    base = max(1, round(ratio * arguments["batch_size"]))
    plan, based = jbatch.couple(**arguments), jbatch.couple(**arguments, base_batch_size=base)
    np.testing.assert_array_equal(based.positions, plan.positions)
    np.testing.assert_array_equal(based.batch_sizes, plan.batch_sizes)
    factor = (arguments["batch_size"] / base) ** arguments["scaling"]
    np.testing.assert_allclose(based.learning_rates, plan.learning_rates * factor, rtol=2**-22)


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
        optax.constant_schedule(0.1),
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
def test_batch_never_shrinks_nor_passes_the_maximum(arguments):
    plan = jbatch.couple(**arguments)
    assert np.all(np.diff(plan.batch_sizes) >= 0)
    assert plan.batch_sizes[0] >= arguments["batch_size"]
    assert plan.batch_sizes[-1] <= (arguments.get("max_batch_size") or arguments["num_examples"])


@given(couplings())
def test_positions_never_overlap_and_skip_only_the_remainder(arguments):
    plan = jbatch.couple(**arguments)
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
    assert plan.warnings[0] == (
        f"the batch never grows, though {largest} is allowed: schedules and ramps are read over "
        "epochs, here 0 to 3, and not over updates"
    )
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


def test_no_update_before_a_boundary_sees_the_rate_after_it():
    # One example before epoch 30 of ImageNet is 30.0 in float32.
    n = 1_281_167
    read = schedules.reader(optax.piecewise_constant_schedule(1.0, {30: 0.1}))
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
    assert len(calls) <= 1_000_000 / schedules.LONG + 2


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


STEP = optax.constant_schedule(0.1)
GOOD = {
    "schedule": STEP,
    "num_examples": 1000,
    "num_epochs": 3,
    "batch_size": 10,
    "growth_factor": 2,
}
REFUSED = {
    "text for a length": ({"num_epochs": "3"}, "num_epochs is '3': give a number"),
    "no momentum": ({"momentum": None}, "momentum is None: give a number"),
    "text for a scaling": ({"scaling": "1"}, "scaling is '1': give a number"),
    "text for a factor": ({"growth_factor": "2"}, "growth_factor is '2': give a number"),
    "one size": (
        {"growth_factor": None, "batch_sizes": 10},
        r"batch_sizes is 10: give several whole numbers, as \(10,\)",
    ),
    "a ramp of pairs": (
        {"growth_factor": None, "ramp": [(0, 10)]},
        "give a dict of epoch → batch size",
    ),
    "a ramp of texts": (
        {"growth_factor": None, "ramp": {"0": 10}},
        "an epoch of ramp is '0': give a number",
    ),
    "negative rate": ({"schedule": optax.linear_schedule(1.0, -1.0, 3)}, "-.* at epoch 1.5"),
    "nan": ({"schedule": lambda epoch: epoch * float("nan")}, "nan at epoch 0"),
    "zero throughout": ({"schedule": optax.constant_schedule(0.0)}, "0 at every update"),
    "not callable": ({"schedule": 0.1}, "constant_schedule"),
    "plateau": (
        {"schedule": optax.contrib.reduce_on_plateau(0.5)},
        "watch the loss",
    ),
    "of the loss": ({"schedule": lambda epoch, loss: epoch * loss}, "depend on the loss"),
    "branches": ({"schedule": lambda epoch: 0.1 if epoch < 1 else 0.01}, "jnp.where"),
    "vector": ({"schedule": lambda epoch: epoch * np.ones(2, np.float32)}, "not one rate"),
    "max under first": ({"max_batch_size": 5}, "max_batch_size 5 is under the first batch, 10"),
    "max over N": ({"max_batch_size": 1001}, "1,001 is over the 1,000 examples"),
    "batch over N": ({"batch_size": 2000}, "batch_size 2,000 is over"),
    "batch 0": ({"batch_size": 0}, "batch_size is 0"),
    "fraction of an example": ({"batch_size": 12.5}, "batch_size is 12.5"),
    "no epochs": ({"num_epochs": 0}, "num_epochs is 0"),
    "momentum 1": ({"momentum": 1.0}, "momentum is 1.0"),
    "scaling 2": ({"scaling": 2.0}, "scaling is 2.0"),
    "scaling -1": ({"scaling": -1.0}, "scaling is -1.0"),
    "endless growth": ({"scaling": 0.0, "growth": float("inf")}, "growth is inf: give at least"),
    "growth -1": ({"scaling": 0.0, "growth": -1.0}, "growth is -1.0: give at least 0"),
    "large base": (
        {"base_batch_size": 2000, "adapt_regime": True},
        "base_batch_size 2,000 is over the 1,000",
    ),
    "regime of no base": ({"adapt_regime": True}, "adapt_regime needs base_batch_size"),
    "base 0": ({"base_batch_size": 0}, "base_batch_size is 0"),
    "growth over 1/p": ({"growth": 1.5}, "growth is 1.5, outside 0 to 1/scaling = 1"),
    "two ways": ({"batch_multiple": 10}, "growth_factor and batch_multiple given"),
    "a maximum and no way": (
        {"growth_factor": None, "max_batch_size": 40},
        "nothing says how the batch of 10 grows",
    ),
    "infinite once": (
        {"schedule": lambda epoch: 0.01 / jnp.sqrt(epoch)},
        "gives inf at epoch 0:",
    ),
    "nan within": (
        {"schedule": lambda epoch: jnp.where(epoch == 2, jnp.nan, 0.1)},
        "gives nan at epoch 2:",
    ),
    "rate over float32": (
        {"schedule": optax.constant_schedule(3e38), "base_batch_size": 1},
        "float32",
    ),
    "endless": ({"num_epochs": 1e18}, "1e\\+20 updates, and a plan holds at most 10,000,000"),
    "a tiny length": ({"num_epochs": 1e-320}, "no whole batch fits before position 0"),
    "no such number": ({"num_examples": 10**24}, "num_examples is 1000000000000000000000000: "),
    "all positions": ({"num_examples": 2**63 - 1}, "give a whole number of at most"),
    "number of any length": (
        {"batch_size": 10**5000},
        "batch_size is one int: give a whole number of at most",
    ),
    "float over all": ({"num_epochs": 10**400}, "num_epochs is 10{98}…: give a number"),
    "every size": (
        {"growth_factor": None, "batch_multiple": 1, "num_examples": 2**50, "num_epochs": 1e-9},
        "over 10,000,000 sizes",
    ),
    "no growth": ({"growth_factor": 1.0}, "does not grow"),
    "half examples": ({"growth_factor": 1.25}, "12.5 examples"),
    "sizes not from B0": (
        {"growth_factor": None, "batch_sizes": [20, 40]},
        "do not start with batch_size 10",
    ),
    "sizes shrink": ({"growth_factor": None, "batch_sizes": [10, 40, 20]}, "do not ascend"),
    "sizes over N": ({"growth_factor": None, "batch_sizes": [10, 2000]}, "over the 1,000"),
    "no multiple": (
        {"growth_factor": None, "batch_multiple": 4},
        "nearest are 8 and 12",
    ),
    "ramp late": ({"growth_factor": None, "ramp": {1: 10}}, "does not start at epoch 0"),
    "ramp disagrees": ({"growth_factor": None, "ramp": {0: 20}}, "starts with 20"),
    "ramp shrinks": ({"growth_factor": None, "ramp": {0: 10, 1: 5}}, "does not ascend"),
    "ramp over N": ({"growth_factor": None, "ramp": {0: 10, 1: 5000}}, "over the 1,000"),
    "ramp and max": (
        {"growth_factor": None, "ramp": {0: 10}, "max_batch_size": 20},
        "says every size itself",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(change, message):
    with pytest.raises(jbatch.Mistake, match=message):
        jbatch.couple(**(GOOD | change))
