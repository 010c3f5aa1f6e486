"""Which micro-batch a run takes: by memory, by speed, and the same again when it goes on."""

import dataclasses
import itertools
import json
import math
import re
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import TINY
from jbatch.devices.spmd import Executable
from jbatch.errors import Mistake
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Accumulate, Update, cut, fewest_per_device
from jbatch.run import microbatch
from jbatch.run.build import make_setup
from jbatch.run.loop import fit, run_until
from jbatch.run.progress import Lines
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run
from jbatch.step import aot, autotune, held, programs, timing
from jbatch.step.fits import check_fits, largest
from jbatch.step.timing import fastest
from small_runs import when_awaited

GROWING = load_experiment_file(TINY).variant("growing")
ONE = jax.devices()[:1]


def biggest(passes):
    return max(layout.per_device for made in passes.values() for layout in made.layouts)


@settings(max_examples=25)  # each of which cuts a hundred ways
@given(
    st.integers(0, 5),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([None, 16, 32]),
    st.integers(0, 10**6),
    st.integers(1, 3000),
    st.integers(1, 10**7),
)
def test_what_fits_is_found_and_nothing_larger_does(power, devices, ghost, fixed, each, available):
    sizes = {512, 512 * 2**power}

    def needs(call):
        return fixed + each * call.layout.per_device

    share, fits = max(sizes) // devices, (available - fixed) // each
    try:
        expected = biggest(cut(sizes, devices, ghost, min(fits, share))) if fits > 0 else None
    except Mistake:
        expected = None
    if expected is None:
        with pytest.raises(Mistake, match="give a smaller model"):
            largest(sizes, devices, ghost, available, needs)
        return
    limit = largest(sizes, devices, ghost, available, needs)
    assert biggest(cut(sizes, devices, ghost, limit)) == expected
    assert (limit is None) == (expected == share)


def test_two_small_passes_predict_and_one_confirms():
    asked = []

    def needs(call):
        asked.append(call.layout.per_device)
        return 10**6 + 1000 * call.layout.per_device

    assert largest({8192}, 1, 32, 2 * 10**6, needs) == 512
    assert asked == [32, 64, 512]


def test_a_prediction_of_less_than_half_the_memory_is_believed():
    """A large pass can take minutes to compile on a GPU."""
    asked = []

    def needs(call):
        asked.append(call.layout.per_device)
        return 10**6 + 1000 * call.layout.per_device

    whole = needs(Accumulate(Layout(8192, 1, 32)))
    asked.clear()
    assert largest({8192}, 1, 32, 2 * whole, needs) is None
    assert asked == [32, 64]
    assert largest({8192}, 1, 32, 2 * whole - 1, needs) is None
    assert asked == [32, 64, 32, 64, 8192]


def test_a_cheaper_way_to_ask_is_for_the_two_small_passes():
    asked, probed = [], []

    def needs(call, into=asked):
        into.append(call.layout.per_device)
        return 10**6 + 1000 * call.layout.per_device

    assert largest({8192}, 1, 32, 2 * 10**6, needs, lambda call: needs(call, probed)) == 512
    assert (probed, asked) == ([32, 64], [512])


def test_memory_that_is_not_affine_is_gone_down_to():
    def needs(call):
        return 1000 * call.layout.per_device + (10**6 if call.layout.per_device > 300 else 0)

    limit = largest({8192}, 1, 32, 10**6, needs)
    assert biggest(cut({8192}, 1, 32, limit)) == 256


def test_of_equal_passes_the_kind_that_needs_more_counts():
    def needs(call):
        return call.layout.per_device * (1 if isinstance(call, Update) else 3)

    assert largest({256, 512}, 1, None, 767, needs) < 256
    with pytest.raises(Mistake, match=r"micro_batch is 256: 256 examples .* 768 B"):
        check_fits(256, cut({256, 512}, 1, None, 256), 767, needs)


def test_what_a_compiler_refuses_does_not_fit():
    def needs(call):
        return 1000.0 * call.layout.per_device if call.layout.per_device <= 64 else math.inf

    assert largest({8192}, 1, 32, 10**6, needs) == 64
    with pytest.raises(Mistake, match="needs more than there is, but a device has 977 KiB"):
        largest({8192}, 1, 128, 10**6, needs)


@settings(max_examples=30)
@given(
    st.integers(1, 400),
    st.floats(1.1, 2),
    st.integers(1, 14),
    st.sampled_from([None, 32]),
    st.floats(-2, 14),
)
def test_what_was_tested_is_what_the_limit_cuts(first, growth, count, ghost, halved):
    """Also where there are more sizes than shapes, and passes are composed."""
    sizes = sorted({round(first * growth**power) * (ghost or 1) for power in range(count)})
    available = int(100 * sizes[-1] / 2**halved)  # the largest batch takes up to 16,384 passes
    tested = []

    def needs(call):
        tested.append(call)
        return 100.0 * call.layout.per_device

    try:
        limit = largest(sizes, 1, ghost, available, needs)
    except Mistake:
        assert 100 * max(fewest_per_device(size, 1, ghost) for size in sizes) > available
        return
    if limit is None and 2 * 100 * sizes[-1] <= available:
        return  # believed
    passes = cut(sizes, 1, ghost, limit)
    assert max(layout.per_device for made in passes.values() for layout in made.layouts) == max(
        call.layout.per_device for call in tested[-1:]
    )
    assert 100 * tested[-1].layout.per_device <= available


def test_a_flat_top_is_not_the_end(monkeypatch):
    """Nor is what was not timed taken."""
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    speeds = {32: 100, 64: 99, 128: 98, 256: 60, 512: 30, 1024: 29}
    monkeypatch.setattr(
        timing, "timer", lambda _, layout, __: lambda: 1e-6 / speeds[layout.per_device]
    )
    assert fastest(setup, (1024,), None, None)[0] == 32


def test_a_stated_memory_is_kept_to_by_the_compiled_program(tmp_path, capsys):
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    sizes = [40, 120]
    small, whole = (autotune.choose(setup, sizes, 40, limit, None).limit for limit in (40, None))
    assert (small, whole) == (40, None)
    needs = {}

    def needed(call):
        memory, examples = programs.compiled(setup, call).memory, call.layout.per_device
        needs[examples] = memory.total + held.beside(setup, call)
        return needs[examples]

    for call in cut(sizes, 1, 40, None)[120].calls:
        needed(call)
    assert largest(sizes, 1, 40, 2 * needs[120], needed) is None
    assert largest(sizes, 1, 40, needs[120] - 1, needed) == 40
    assert needs[40] < needs[120]
    stated = dataclasses.replace(GROWING, device_memory=(needs[120] - 1) / 2**30)
    with open_run(stated, tmp_path / "run", devices=ONE, progress=Lines()) as run:
        run_until(run, 80)
        assert [layout.per_device for layout in run.ahead.program(120).passes.layouts] == [40] * 3
    assert re.search(r"micro-batch 40, the largest that fits \d+ KiB", capsys.readouterr().err)
    explicit = dataclasses.replace(stated, micro_batch=120)
    with pytest.raises(Mistake, match=r"micro_batch is 120: 120 examples .* \d+ KiB"):
        fit(explicit, tmp_path / "other", devices=ONE)
    assert not (tmp_path / "other").exists()
    none = dataclasses.replace(stated, device_memory=1e-6)
    with pytest.raises(Mistake, match="smallest micro-batch, 40 examples per device, needs"):
        fit(none, tmp_path / "other", devices=ONE)


@pytest.mark.parametrize(
    ("speed", "expected"),
    [
        (lambda examples: -abs(math.log2(examples / 128)), 128),
        (math.log2, None),  # all at once
        (lambda examples: 0.005 * math.log2(examples), 40),  # of equals the smallest
        (lambda examples: -math.log2(examples), 40),
    ],
)
def test_the_fastest_is_taken_where_it_is_worth_it(monkeypatch, speed, expected):
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    monkeypatch.setattr(
        timing, "timer", lambda _, layout, __: lambda: 1e-6 * 2.0 ** -speed(layout.per_device)
    )
    ghost = None if expected == 128 else 40
    assert fastest(setup, (40, 2560 if ghost is None else 2400), ghost, None)[0] == expected


@pytest.mark.parametrize(("work", "expected"), [(3e6, 32), (1e8, 20), (4e8, 8), (0, 32)])
def test_passes_of_few_large_examples_are_worth_timing(monkeypatch, work, expected):
    """A window of a text costs a hundred times what a small image does."""
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    monkeypatch.setattr(timing.flops, "of_pass", lambda _, layout: work * layout.per_device)
    assert timing._least_timed(setup) == expected


def test_a_group_that_is_the_whole_batch_needs_no_timing(monkeypatch):
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    monkeypatch.delattr(timing, "timer")
    assert fastest(setup, (480,), 480, None) == (None, "")


def test_what_a_machine_does_meanwhile_meets_all_alike(monkeypatch):
    """A machine that is three times as slow for a while, and a pass of 128 that is the fastest."""
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    for first in range(12):  # slow looks, wherever they fall
        calls = itertools.count()

        def timer(_, layout, __, calls=calls, first=first):
            def seconds():
                slow = 3e-6 if first <= next(calls) < first + 4 else 1e-6
                return slow * (1 + 0.2 * abs(math.log2(layout.per_device / 128)))

            return seconds

        monkeypatch.setattr(timing, "timer", timer)
        monkeypatch.setattr(timing, "HOPELESS", 4)  # of four times as slow
        assert fastest(setup, (40, 2560), None, None)[0] == 128


def test_a_machine_that_turns_slow_after_the_first_look_is_no_fault(monkeypatch):
    """What is hopeless was looked at while it was fast: it is not what the others are held to."""
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    calls = itertools.count()

    def timer(_, layout, __):
        return lambda: (
            (1e-6 if next(calls) < 20 else 9e-6) * 2.0 ** abs(math.log2(layout.per_device / 64))
        )

    monkeypatch.setattr(timing, "timer", timer)
    assert fastest(setup, (40, 2560), None, None)[0] == 64


def test_a_choice_is_kept_for_the_machine_and_the_setup(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    measured = []
    monkeypatch.setattr(
        autotune, "fastest", lambda *asked: measured.append(asked) or (40 * len(measured), "why")
    )

    def chosen_for(*sizes):
        return autotune.choose(setup, sizes, 40, None, None).limit

    assert [chosen_for(40, 480), chosen_for(40, 480), chosen_for(40, 640)] == [40, 40, 80]
    for text in ("", "[]", "[0, 1]", '["40", "why"]', "{}"):
        for path in tmp_path.glob("jbatch/micro_batch/*"):
            path.write_text(text)  # damaged: made again
        assert chosen_for(40, 480) == 40 * len(measured) > 80
    assert len(measured) == 7


@pytest.mark.slow
def test_passes_are_timed_as_they_are(monkeypatch, tmp_path):
    """Really, on one pass of each size; a perceptron of 32 units is not worth cutting."""
    monkeypatch.setattr(timing, "SECONDS_OF_TURN", 0.01)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    timed, timer = {}, timing.timer

    def noted(setup, layout, passes):
        seconds = timer(setup, layout, passes)
        timed[layout.per_device] = seconds()
        return seconds

    monkeypatch.setattr(timing, "timer", noted)
    plan = dataclasses.replace(
        GROWING.plan, batch_size=160, batch_sizes=(160, 480), max_batch_size=480
    )
    larger = dataclasses.replace(GROWING, plan=plan)
    with open_run(larger, tmp_path / "run", devices=ONE):
        limit = json.loads((tmp_path / "run" / microbatch.FILE).read_text())["limit"]
    assert list(timed)[:3] == [40, 80, 160]
    assert min(timed.values()) > 0
    monkeypatch.setattr(timing, "timer", pytest.fail)  # what was chosen is kept
    with open_run(larger, tmp_path / "run", devices=ONE) as run:
        passes = [layout.per_device for layout in run.ahead.program(480).passes.layouts]
    assert sum(passes) == 480
    assert max(passes) <= (limit or 480)


def test_a_damaged_choice_is_made_again(tmp_path):
    fit(GROWING, tmp_path / "run", devices=ONE)
    for text in ("{", "[]", "{}"):
        (tmp_path / "run" / microbatch.FILE).write_text(text)
        fit(GROWING, tmp_path / "run", devices=ONE)
    assert '"limit": null' in (tmp_path / "run" / microbatch.FILE).read_text()


def test_the_current_phase_compiles_beside_the_evaluation(monkeypatch):
    """Neither waits for the other, and later phases compile one after another."""
    begun, order = threading.Barrier(2, timeout=60), []

    def program(setup, passes):
        size = passes.layouts[0].size
        order.append(size)
        if size == 40:
            begun.wait()
        return aot.Program(passes, in_call=None, calls={}, apply=None)

    monkeypatch.setattr(aot, "_program", program)
    monkeypatch.setattr(programs, "compiled", lambda *_: begun.wait())
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    passes = cut([40, 80, 120], 1, 40, None)
    with closing(aot.Ahead(setup, {size: passes[size] for size in (40, 80, 120)})) as ahead:
        assert ahead.ready(None, 60)
        assert [ahead.program(size).passes for size in (40, 80, 120)] == list(passes.values())
    assert order == [40, 80, 120]


@pytest.mark.parametrize("mapping", ["shard_map", "pmap"])
@pytest.mark.parametrize(("limit", "measured"), [(None, False), (None, True), (40, False)])
def test_what_a_later_phase_runs_has_run_before(monkeypatch, limit, measured, mapping):
    """On zeros, so that its first update is like the others; the current phase begins at once."""
    called, call = [], Executable.__call__
    monkeypatch.setattr(Executable, "__call__", lambda *a: called.append(a[0]) or call(*a))
    experiment = dataclasses.replace(GROWING, mapping=mapping, measure_noise=measured)
    setup, _ = make_setup(experiment, GROWING.plan.plan(), ONE)
    with closing(aot.Ahead(setup, cut([40, 120], 1, 40, limit), ())) as ahead:
        assert ahead.ready(120, 60)
        program = ahead.program(120)
        made = [*program.calls.values()]
        made += [program.halves] * measured + [program.apply] * (limit is not None)
        assert list(map(id, called)) == list(map(id, made))
        assert id(next(iter(ahead.program(40).calls.values()))) not in map(id, made)


def test_the_search_keeps_to_its_seconds(monkeypatch):
    """Of passes that take long, few are looked at, and two at least."""
    clock = itertools.count()
    counted = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr(timing, "time", counted)
    looked = []

    def timer(_, layout, __):
        return lambda: looked.append(layout.per_device) or 0.02  # of an example: 0.64 s of 32

    monkeypatch.setattr(timing, "timer", timer)
    setup, _ = make_setup(GROWING, GROWING.plan.plan(), ONE)
    assert fastest(setup, (40, 2560), None, None)[0] == 32
    assert looked == [32, 64, 32]


def test_a_phase_that_must_wait_for_its_program_says_so(tmp_path, monkeypatch, capsys):
    make, awaited = aot._program, when_awaited(monkeypatch, 120)

    def slow(setup, passes):
        if passes.layouts[0].size == 120:
            awaited.wait()
            time.sleep(0.1)  # a wait of less than 0.05 s is not told
        return make(setup, passes)

    monkeypatch.setattr(aot, "_program", slow)
    fit(GROWING, tmp_path / "run", devices=ONE, progress=Lines())
    assert re.search(r"waited \d+\.\d s to compile batch size 120", capsys.readouterr().err)
