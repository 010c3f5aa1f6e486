"""Branches of a run: the same examples at the plan's rates; critical batches and their ramp."""

import math

import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jbatch
from jbatch.errors import Mistake
from jbatch.plan.branch import Window, forgets, make_branch, make_window
from jbatch.plan.critical import Branch, Place, critical, make_ramp, ramp_text, uncertainty

CONSTANT = optax.constant_schedule(0.1)  # made once: it compiles once

DECAY = optax.piecewise_constant_schedule(0.1, {4: 0.5, 8: 0.5})
RUN = {"num_examples": 1000, "num_epochs": 12, "batch_size": 16}


def branch_of(multiple, losses, batch_size=16, noise_scale=None):
    weights = (1.0,) * len(losses)
    size = multiple * batch_size
    return Branch(multiple, size, 8, 0.1 * multiple, tuple(losses), weights, noise_scale)


def place_of(position, critical_size, batch_size=16):
    """Branches of 1, 2, 4 and 8 times the batch, of which those over the critical one lose."""
    sizes = [batch_size * multiple for multiple in (1, 2, 4, 8)]
    branches = [
        branch_of(size // batch_size, [1.0 + (size > critical_size)] * 4, batch_size)
        for size in sizes
    ]
    return Place(0.1, Window(position, batch_size, 8 * batch_size, 4), tuple(branches))


@pytest.mark.parametrize("growth", [{}, {"growth_factor": 2, "max_batch_size": 64}])
def test_the_branch_that_keeps_the_batch_has_the_runs_rates(growth):
    plan = jbatch.couple(DECAY, **RUN, **growth)
    start = plan.position(300)
    window = make_window(plan, start, [1, 2, 4])
    branch = make_branch(plan, window, 1)
    assert set(branch.batch_sizes) == {plan.at(300).batch_size}
    rows = range(300, 300 + branch.num_updates)
    same = [plan.at(row).batch_size == window.batch_size for row in rows]
    n = same.index(False) if False in same else len(same)
    # Epochs of the run may skip a remainder that the branch does not, from then on they are apart.
    n = min(n, (1000 - start % 1000) // window.batch_size)
    assert n > 5
    assert list(branch.learning_rates[:n]) == list(plan.learning_rates[300 : 300 + n])
    assert [branch.at(row).progress for row in range(n)] == [
        plan.at(row).progress for row in rows[:n]
    ]


@pytest.mark.parametrize("scaling", [0, 0.5, 1])
def test_the_rate_follows_the_batch_as_in_the_plan(scaling):
    """Also where the run grows within the window: the schedule alone counts there."""
    plan = jbatch.couple(DECAY, **RUN, scaling=scaling, growth_factor=2, growth=min(1, scaling))
    window = make_window(plan, plan.position(plan.update_at(3_600)), [1, 4], 2)
    branch = make_branch(plan, window, 4)
    seen = window.position + np.arange(0, window.examples, 64)
    # A row of the plan looks the schedule up at its own first example.
    covering = [max(p for p in plan.positions if p <= here) for here in seen]
    expected = [float(DECAY(p / 1000)) * 4**scaling for p in covering]
    assert branch.learning_rates == pytest.approx(expected, rel=1e-6)
    assert len(set(np.round(branch.learning_rates, 6))) == 2


@settings(max_examples=25)
@given(
    count=st.integers(40, 3000),
    batch_size=st.integers(1, 40),
    multiples=st.lists(st.integers(2, 12), min_size=1, max_size=3, unique=True),
    share=st.floats(0.01, 0.99),
)
def test_all_branches_see_the_same_examples_in_each_part(count, batch_size, multiples, share):
    plan = jbatch.couple(
        CONSTANT, num_examples=count, num_epochs=4, batch_size=min(batch_size, count)
    )
    multiples = sorted({1, *multiples})
    position = plan.position(int(share * plan.num_updates))
    part = plan.at(0).batch_size * math.lcm(*multiples)
    if part > count:
        with pytest.raises(Mistake, match="multiples"):
            make_window(plan, position, multiples)
        return
    window = make_window(plan, position, multiples)
    seen = []
    for multiple in multiples:
        branch = make_branch(plan, window, multiple)
        sizes, starts = branch.batch_sizes, branch.positions
        assert (starts // count == (starts + sizes - 1) // count).all()  # within one epoch
        examples = np.concatenate([np.arange(p, p + b) for p, b in zip(starts, sizes, strict=True)])
        assert len(examples) == window.examples
        seen.append(examples)
    assert all((each == seen[0]).all() for each in seen)
    assert seen[0][0] % count == 0
    assert window.examples >= 10 * part


def test_a_stream_has_one_order_so_its_branches_see_what_comes_after_the_run():
    plan = jbatch.couple(lambda _: 0.1, unit="examples", length=10_000, batch_size=10)
    window = make_window(plan, 5000, [1, 4], 800)
    assert window == Window(5000, 10, 40, 20)
    assert list(make_branch(plan, window, 4).positions) == list(range(10_000, 10_800, 40))
    with pytest.raises(Mistake, match="over the 10,000 examples of the run"):
        make_window(plan, 5000, [1, 1001])


def test_windows():
    plan = jbatch.couple(DECAY, **RUN)
    position = plan.position(100)
    assert make_window(plan, position, [1, 2, 4, 8]) == Window(position, 16, 128, 10)
    assert make_window(plan, position, [1, 3, 2]).part == 96
    assert make_window(plan, position, [1, 2], 1).parts == 32  # 1,000 examples are 31.25
    long = jbatch.couple(DECAY, **RUN | {"num_epochs": 1000})
    assert make_window(long, position, [1, 2], places=3).examples == 20_000  # 2%
    assert make_window(long, position, [1, 2, 4, 8], places=3).examples == 10_112


def test_a_window_is_long_enough_to_forget_momentum():
    plan = jbatch.couple(DECAY, **RUN, momentum=0.9)
    window = make_window(plan, plan.position(100), [1, 2, 4], 1.28)
    assert forgets(make_branch(plan, window, 4))  # 20 updates, and momentum remembers 10
    assert not forgets(make_branch(plan, window._replace(parts=19), 4))


@pytest.mark.parametrize(
    ("multiples", "length", "message"),
    [
        ([1, 63], None, "multiples has 63: at epoch .* a batch of 1,008, over the 1,000 .* 62"),
        ([1, 7, 9], None, "multiples 1 7 9: .* together after 1,008 examples, over the 1,000"),
        ([1, 8], 0.1, r"window is 0\.1 epochs, .* in 128 examples: .* that, 0\.256 epochs"),
    ],
)
def test_what_makes_no_window_is_refused(multiples, length, message):
    plan = jbatch.couple(DECAY, **RUN)
    with pytest.raises(Mistake, match=message):
        make_window(plan, plan.position(100), multiples, length)


@pytest.mark.parametrize(
    ("losses", "multiple"),
    [
        ([1.0, 1.0, 1.0, 1.0], 8),
        ([1.0, 1.005, 1.02, 1.5], 2),
        ([1.0, 1.02, 1.03, 1.04], 1),
        ([1.0, 0.9, 0.905, 0.95], 4),  # against the best smaller one, not the first
        ([1.0, 1.02, 1.0, 1.2], 4),  # no worse than every smaller one
        ([1.0, 1.0, math.nan, 1.0], 8),
        ([1.0, 1.0, math.inf, math.nan], 2),
    ],
)
def test_the_critical_batch_is_the_largest_that_loses_nothing(losses, multiple):
    branches = [branch_of(2**n, [9.0, loss]) for n, loss in enumerate(losses)]
    assert critical(branches, 0.01).multiple == multiple


def test_a_loss_is_of_the_last_half_and_weighs_its_parts():
    branch = branch_of(1, [9.0, 9.0, 1.0, 2.0])._replace(weights=(1.0, 1.0, 3.0, 1.0))
    assert branch.loss == 1.25
    other = branch_of(2, [0.0, 0.0, 1.5, 2.1])
    place = Place(0.1, Window(0, 16, 32, 4), (branch, other))
    assert uncertainty(place, other) == pytest.approx(0.2)  # of 0.5 and 0.1
    assert uncertainty(place, branch_of(2, [0.0, 0.0, math.nan, 2.1])) is None


def test_the_ramp_goes_through_the_critical_batches_and_never_down():
    places = [place_of(1000, 16), place_of(6000, 64), place_of(3000, 128), place_of(9000, 256, 64)]
    assert make_ramp(16, places, 0.01) == {0: 16, 3000: 128, 9000: 256}


@pytest.mark.parametrize(
    "of",
    [
        {"unit": "epochs", "length": 12},
        {"unit": "examples", "length": 12_000_000},
        {"unit": "tokens", "length": 3e10, "sequence_length": 2048},
        {"unit": "updates", "length": 900},
        {"unit": "epochs", "length": 12, "base_batch_size": 8, "adapt_regime": True},
        {"unit": "updates", "length": 900, "base_batch_size": 8, "adapt_regime": True},
    ],
)
def test_a_pasted_ramp_grows_at_the_places(of):
    """In every unit, and where the length is stretched."""
    examples = None if of["unit"] in ("examples", "tokens") else 1000
    run = of | {"num_examples": examples, "batch_size": 1000 if examples is None else 16}
    plan = jbatch.couple(lambda _: 0.1, **run)
    first = int(plan.batch_sizes[0])
    update = plan.num_updates // 3
    wanted = {0: first, plan.position(update): 2 * first}
    text = ramp_text(wanted, plan.measure, plan.length / of["length"])
    made = jbatch.couple(lambda _: 0.1, **run | {"ramp": text, "batch_size": None})
    grown = int(np.argmax(made.batch_sizes == 2 * first))
    # A start is written to five decimals of an epoch, or of an update.
    assert abs(grown - update) <= 1
    assert made.length == plan.length
