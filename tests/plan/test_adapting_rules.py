"""The rules of adaptive plans, with exact numbers, and the plan that decisions make."""

import math
from functools import cache

import numpy as np
import optax
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

import jbatch
from jbatch import Adaptive, LossStall, NoiseScale, NormTest
from jbatch.errors import Mistake
from jbatch.plan.adapt import LEAST_MEASURED, Averages, Place, choose, remembered
from jbatch.plan.decided import Unreached
from jbatch.plan.saved import plan_bytes, plan_from
from jbatch.plan.table import plan_text

SIZES = (64, 128, 256, 512, 1024, 2048)
N = 60_000


def seen(noise_scale, squared=1.0, measured=1000.0):
    return Averages((squared,), (noise_scale * squared,), measured)


@pytest.mark.parametrize(
    ("noise_scale", "target", "size"),
    [
        (1000, 1, 512),  # the largest size at or below
        (1024, 1, 1024),
        (1023, 1, 512),
        (1000, 2, 1024),
        (1000, 0.1, 64),
        (63, 1, 64),
        (1e9, 1, 2048),
    ],
)
def test_the_batch_grows_to_the_largest_size_within_the_noise_scale(noise_scale, target, size):
    rule = Adaptive(NoiseScale(target=target))
    assert choose(rule, seen(noise_scale), Place(64, N), SIZES).batch_size == size


def test_adams_metric_is_the_second():
    both = Averages((1.0, 2.0), (1000.0, 300.0), 1000.0)
    sizes = {
        metric: choose(Adaptive(NoiseScale(metric=metric)), both, Place(64, N), SIZES).batch_size
        for metric in ("plain", "adam")
    }
    assert sizes == {"plain": 512, "adam": 128}


@pytest.mark.parametrize(("squared", "trace"), [(-1.0, 10.0), (1.0, -5.0)])
@pytest.mark.parametrize("rule", [NoiseScale(), NormTest()])
def test_a_gradient_lost_in_its_noise_grows_nothing(rule, squared, trace):
    found = choose(Adaptive(rule), Averages((squared,), (trace,), 1e3), Place(2048, N), (2048, N))
    assert found.batch_size == 2048
    assert choose(Adaptive(NoiseScale()), seen(0, 0.0), Place(64, N), SIZES).batch_size == 64


@pytest.mark.parametrize("rule", [NoiseScale(), NormTest()])
def test_a_noise_of_few_updates_grows_nothing(rule):
    few = seen(1000, measured=LEAST_MEASURED - 0.1)
    assert choose(Adaptive(rule), few, Place(64, N), SIZES).batch_size == 64
    enough = seen(1000, measured=LEAST_MEASURED)
    assert choose(Adaptive(rule), enough, Place(64, N), SIZES).batch_size > 64


def test_the_norm_test_asks_for_what_byrd_et_al_say():
    """Without the part of the whole set: B' = trΣ/(θ²|g|²), and |g|² = |G|² + trΣ/B."""
    rule, endless = Adaptive(NormTest(theta=0.5)), 2**60
    # |g|² = 1 + 300/100 = 4, variance/|g|² = 3/4 > 1/4, B' = 300/(4/4) = 300.
    averages = Averages((1.0,), (300.0,), 1e3)
    assert choose(rule, averages, Place(100, endless), (100, 200, 299, 300, 400)).batch_size == 300
    assert choose(rule, averages, Place(100, endless), (100, 200, 299)).batch_size == 299
    # At three noise scales it passes: 1/3 ≤ (1/4)(4/3).
    assert choose(rule, averages, Place(900, endless), (900, 1800)).batch_size == 900
    assert choose(rule, averages, Place(899, endless), (899, 1800)).batch_size == 1800
    # At θ² = 1/2 one noise scale does.
    half = Adaptive(NormTest(theta=math.sqrt(0.5)))
    assert choose(half, averages, Place(300, endless), (300, 600)).batch_size == 300
    assert choose(half, averages, Place(299, endless), (299, 600)).batch_size == 600


def test_the_norm_test_never_asks_for_more_than_all_examples():
    """The mean over all of them has no variance."""
    found = choose(Adaptive(NormTest(0.01)), seen(1e12), Place(64, 1000), (64, 500, 1000))
    assert found.batch_size == 1000
    at_all = choose(Adaptive(NormTest()), seen(1e12), Place(1000, 1000), (64, 1000, 2000))
    assert at_all == (1000, "√(variance/|g|²) is 0, within θ")


def of_losses(losses, patience=2, least=0.1):
    rule, kept = LossStall(patience, least), ()
    for loss in losses:
        kept = remembered(rule, kept, loss)
    return choose(Adaptive(rule), Averages(losses=kept), Place(64, N), SIZES).batch_size


def test_a_loss_that_stops_falling_grows_the_batch_by_one_size():
    assert of_losses([1.0]) == 64
    assert of_losses([1.0, 1.0]) == 64
    assert of_losses([1.0, 1.0, 1.0]) == 128
    assert of_losses([1.0, 0.95, 0.91]) == 128  # less than a tenth
    assert of_losses([1.0, 0.95, 0.89]) == 64
    assert of_losses([1.0, 0.5, 0.49, 0.48]) == 128  # the lowest before the last two is 0.5
    assert of_losses([0.5, 1.0, 0.5, 0.44]) == 64
    assert of_losses([-1.0, -1.05, -1.2]) == 64  # losses may be below 0
    assert of_losses([-1.0, -1.05, -1.09]) == 128


def test_what_is_remembered_of_losses_does_not_grow():
    kept = ()
    for loss in (5.0, 4.0, 6.0, 3.0, 7.0):
        kept = remembered(LossStall(patience=2), kept, loss)
    assert kept == (4.0, 3.0, 7.0)
    assert remembered(NoiseScale(), (), 1.0) == ()


RULES = st.one_of(
    st.builds(NoiseScale, target=st.floats(0.01, 100)),
    st.builds(NormTest, theta=st.floats(0.01, 0.99)),
    st.builds(LossStall, patience=st.integers(1, 5), least=st.floats(0, 0.9)),
)
NUMBERS = st.floats(-1e6, 1e6)


@given(
    rule=RULES,
    squared=NUMBERS,
    trace=NUMBERS,
    measured=st.floats(0, 1e3),
    losses=st.lists(st.floats(-10, 10), max_size=8),
    allowed=st.lists(st.integers(1, 10_000), min_size=2, max_size=12, unique=True),
    data=st.data(),
)
def test_every_rule_stays_or_grows_to_an_allowed_size(
    rule, squared, trace, measured, losses, allowed, data
):
    allowed, kept = sorted(allowed), ()
    for loss in losses:
        kept = remembered(rule, kept, loss)
    present = data.draw(st.sampled_from(allowed))
    averages = Averages((squared,), (trace,), measured, kept)
    found = choose(Adaptive(rule), averages, Place(present, 10_000), allowed)
    assert found.batch_size in allowed
    assert found.batch_size >= present
    assert found.why


@given(scale=st.floats(1, 1e5), more=st.floats(1, 100), target=st.floats(0.1, 10))
def test_more_noise_never_means_a_smaller_batch(scale, more, target):
    for rule in (NoiseScale(target), NormTest(min(target / 10.1, 0.99))):
        less, larger = (
            choose(Adaptive(rule), seen(each), Place(64, N), SIZES).batch_size
            for each in (scale, scale * more)
        )
        assert less <= larger


# ---- the plan that decisions make ---------------------------------------------------------------

SCHEDULE = optax.cosine_decay_schedule(0.1, 4)
PLANNED = {
    "schedule": SCHEDULE,
    "num_examples": 1000,
    "num_epochs": 4,
    "batch_size": 20,
    "batch_sizes": (20, 50, 100),
    "momentum": 0.9,
}


def test_decisions_take_effect_where_they_were_made_and_nothing_before_changes():
    begun = jbatch.couple(**PLANNED, decided={0: 20})
    assert {int(size) for size in begun.batch_sizes} == {20}
    at = begun.position(60)
    grown = jbatch.couple(**PLANNED, decided={0: 20, at: 50})
    for name in ("positions", "batch_sizes", "learning_rates"):
        assert (getattr(grown, name)[:60] == getattr(begun, name)[:60]).all()
    assert grown.at(60)[1:5] == (1200, 1.2, 1, 50)
    assert begun.end == grown.end == 4000
    # The noise scale stays as the schedule says, but for B/N: the rate follows the batch.
    before, after = (plan.at(60) for plan in (begun, grown))
    assert after.learning_rate / 50 == pytest.approx(before.learning_rate / 20, rel=1e-6)


def test_a_size_that_does_not_fit_begins_with_the_next_epoch():
    begun = jbatch.couple(**PLANNED, decided={0: 20})
    assert begun.position(49) == 980
    grown = jbatch.couple(**PLANNED, decided={0: 20, 980: 100})
    assert grown.position(49) == 1000
    assert grown.num_updates == 49 + 30


@cache
def hyperbola(length):
    """A schedule; of each length one, which compiles once."""
    return lambda x: 0.1 / (1 + x / length)


@given(
    unit=st.sampled_from(["epochs", "examples", "updates"]),
    updates=st.lists(st.integers(1, 150), min_size=1, max_size=2, unique=True),
    base=st.sampled_from([None, 7, 30]),
    num_examples=st.integers(103, 1000),
)
def test_a_run_that_decides_is_the_plan_of_its_decisions(unit, updates, base, num_examples):
    """In any unit, with examples left over in every epoch: the updates before stay as they are."""
    sizes, decided = [50, 100], {0: 20}
    length = {"epochs": 3, "examples": 3 * num_examples, "updates": 200}[unit]
    asked = {
        "schedule": hyperbola(1000 if unit == "examples" else length),
        "num_examples": num_examples,
        "length": length,
        "unit": unit,
        "batch_size": 20,
        "batch_sizes": (20, 50, 100),
        "base_batch_size": base,
    }
    plan = jbatch.couple(**asked, decided=decided)
    for update in sorted(updates):
        assume(update < plan.num_updates)
        decided[plan.position(update)] = sizes.pop(0)
        try:
            after = jbatch.couple(**asked, decided=decided)
        except Unreached:  # in examples that an epoch leaves over: too many may not be
            reject()
        assert (after.positions[:update] == plan.positions[:update]).all()
        assert (after.learning_rates[:update] == plan.learning_rates[:update]).all()
        assert after.at(update).batch_size == list(decided.values())[-1]
        assert (np.diff(after.batch_sizes) >= 0).all()
        plan = after


def test_a_decided_plan_is_saved_and_printed_with_what_it_could_have_come_to():
    plan = jbatch.couple(**PLANNED, decided={0: 20, 1200: 50})
    again = plan_from(plan_bytes(plan))
    assert again.decided == plan.decided
    assert again.digest == plan.digest
    assert again.sizes == (20, 50, 100)
    assert "Decided beforehand, among 20, 50, 100: 50 at epoch 1.2." in str(plan)
    assert "Decided while the run trains, among 20, 50, 100: 50" in plan_text(plan, adapts=True)
    assert "Decided beforehand, among 20, 50, 100: no growth." in str(
        jbatch.couple(**PLANNED, decided={0: 20})
    )
    assert jbatch.couple(**{**PLANNED, "batch_sizes": None}).decided is None


def test_all_sizes_are_checked_before_a_run_begins():
    odd = {**PLANNED, "batch_sizes": (20, 50, 101)}
    with pytest.raises(Mistake, match=r"batch 50 does not divide over 4 devices: .*; batch 101"):
        jbatch.couple(**odd, decided={0: 20}).check(4, None)


REFUSED = {
    "no size": ({"batch_sizes": None}, "chooses among 2 to 64 sizes, and the plan allows 1: give"),
    "too many": ({"batch_sizes": None, "batch_multiple": 10}, "the plan allows 99: give"),
    "growth": ({"growth": 0.5}, "decides when its batch grows, and growth would too: leave it out"),
    "a ramp": (
        {"batch_sizes": None, "ramp": {0: 20, 1: 50}},
        "decided and ramp each set the batch sizes: give only one",
    ),
    "no start": ({"decided": {100: 20}}, r"does not start with 0 and batch_size 20: .* 0: 20"),
    "another start": ({"decided": {0: 50}}, "does not start with 0 and batch_size 20"),
    "falls": ({"decided": {0: 20, 100: 100, 300: 50}}, "does not ascend"),
    "not allowed": ({"decided": {0: 20, 100: 60}}, "batch 60, and the plan allows 20, 50, 100"),
    "after the end": ({"decided": {0: 20, 3990: 50}}, "50 from 3,990 .* no update takes: the"),
    "passed over": ({"decided": {0: 20, 101: 50, 102: 100}}, "batch 50 from 101 examples on"),
    "no counts": ({"decided": {0: 20, 1.5: 50}}, "an example count of decided is 1.5"),
    "no dict": ({"decided": [20]}, "give a dict"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_decisions_that_cannot_be(name):
    changes, message = REFUSED[name]
    with pytest.raises(Mistake, match=message):
        jbatch.couple(**{**PLANNED, "decided": {0: 20}, **changes})


BAD_RULES = {
    "every": (lambda: Adaptive(every=0), "adaptive.every is 0: give a whole number of at least 1"),
    "rule": (lambda: Adaptive("noise"), r"adaptive.rule is 'noise': give NoiseScale\(\), NormTest"),
    "target": (lambda: NoiseScale(0), "target is 0.0: give a ratio"),
    "metric": (lambda: NoiseScale(metric="sign"), "metric is 'sign': give plain or adam"),
    "theta": (lambda: NormTest(1.0), "theta is 1, which every batch passes"),
    "patience": (lambda: LossStall(0), "patience is 0"),
    "least": (lambda: LossStall(least=1.0), "least is 1.0: give a share"),
}


@pytest.mark.parametrize("name", BAD_RULES)
def test_rules_that_cannot_be(name):
    make, message = BAD_RULES[name]
    with pytest.raises(Mistake, match=message):
        make()
