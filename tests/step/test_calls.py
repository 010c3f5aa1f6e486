"""Several updates in one call."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jbatch.data.stream.feed import StreamedInputs
from jbatch.errors import Mistake
from jbatch.models import MLP, GhostBatchNorm, SmallCNN
from jbatch.optim import SGD
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Update, cut
from jbatch.run import microbatch
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run
from jbatch.step import calls, programs
from jbatch.step.calls import MOST, faster, updates_per_call, worth_timing
from jbatch.step.programs import how, told
from small_runs import DATA, learner_of, setup_of

TASK = learner_of(MLP((16,), GhostBatchNorm(20)), SGD(weight_decay=1e-3))
RESIDENT = DATA.inputs
STREAMED = StreamedInputs(100, 1, RESIDENT.example)
ONE = jax.devices()[:1]
GROWING = load_experiment_file(Path(__file__).parent.parent / "tiny.py").variant("growing")


@pytest.mark.parametrize(("devices", "mapping"), [(1, "shard_map"), (8, "shard_map"), (8, "pmap")])
def test_a_call_of_several_is_so_many_calls(devices, mapping):
    setup = setup_of(TASK, devices, mapping)
    several = dataclasses.replace(setup, updates_per_call=5)
    layout = Layout(40, devices, 20)
    feed = DATA.feed(setup.mesh, 3)
    hows = [how(rate, 2, 40) for rate in (0.1, 0.05, 0.02)]
    state = programs.initializer(setup)(np.uint32(0))
    losses = []
    for number, each in enumerate(hows):
        arguments = feed.arguments(400 + 40 * number, layout)
        update = programs.compiled(setup, Update(layout))
        state, loss = update(state, told(setup, [each]), *arguments)
        losses.append(float(loss))
    together, last = programs.compiled(several, Update(layout))(
        programs.initializer(setup)(np.uint32(0)),
        told(several, hows),
        *feed.arguments(400, layout),
    )
    feed.close()
    assert float(last) == pytest.approx(losses[-1], rel=1e-6)
    # The same sums in another program: a few roundings of float32 in values up to 1.
    for one, other in zip(*map(jax.tree.leaves, (together, state)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_what_suits_devices_and_network():
    convolutional = learner_of(SmallCNN((4, 8)), SGD())
    assert updates_per_call(None, TASK, RESIDENT, "cpu") == MOST
    assert updates_per_call(None, convolutional, RESIDENT, "cpu") == 1
    assert updates_per_call(None, convolutional, RESIDENT, "tpu") == MOST
    assert updates_per_call(None, TASK, RESIDENT, "gpu") == 1
    assert updates_per_call(None, TASK, STREAMED, "tpu") == 1
    assert updates_per_call(3, convolutional, RESIDENT, "gpu") == 3
    assert updates_per_call(1, TASK, STREAMED, "cpu") == 1
    with pytest.raises(Mistake, match=r"updates_per_call is 3, .* leave it out, or give 1"):
        updates_per_call(3, TASK, STREAMED, "cpu")


def test_calls_end_at_epochs_phases_logs_saves_and_evaluations(tmp_path):
    """Epochs of 37 updates, then of 12 in two passes each, which are called one by one."""
    growing = dataclasses.replace(GROWING, log_every=0.3, eval_every=0.7, micro_batch=60)
    with open_run(growing, tmp_path / "run", devices=ONE) as run:
        called = []
        while run.update < run.plan.num_updates:
            rows = run.next_rows(run.plan.num_updates)
            assert rows == [run.plan.at(run.update + number) for number in range(len(rows))]
            assert len({(int(row.epoch), row.phase) for row in rows}) == 1
            run.update += len(rows)
            called.append(run.update)
    assert called[:8] == [12, 23, 27, 34, 37, 45, 52, 56]
    moments = run.job.moments
    assert set(called) >= moments.logs | moments.saves | moments.evaluations - {0}
    assert called[-24:] == list(range(75, 99))
    whole = dataclasses.replace(growing, log_every=1, eval_every=1)
    with open_run(whole, tmp_path / "whole", devices=ONE) as run:
        assert len(run.next_rows(98)) == MOST
        assert len(run.next_rows(7)) == 7


@pytest.mark.parametrize(
    ("alone", "looped", "expected"),
    [(1e-3, 0.9e-3, MOST), (1e-3, 0.99e-3, 1), (1e-3, 2e-3, 1), (0.02, 1e-3, 1)],
)
def test_the_faster_of_both_is_taken(monkeypatch, alone, looped, expected):
    """A long update is not worth a second compilation."""
    made = []

    def timer(_setup, _call, in_call):
        made.append(in_call)
        return lambda: alone if in_call == 1 else looped

    monkeypatch.setattr(calls, "timer", timer)
    assert faster(setup_of(TASK), Update(Layout(40, 1, 20))) == expected
    assert made == ([1] if alone > calls.LONG else [1, MOST])


def test_a_loop_of_updates_is_really_timed(monkeypatch):
    """Really, by the programs that a run calls; which way is faster is the machine's affair."""
    compiled, called = programs.compiled, []

    def noted(setup, call):
        update = compiled(setup, call)

        def noting(*arguments):
            called.append(setup.updates_per_call)
            return update(*arguments)

        return noting

    monkeypatch.setattr(programs, "compiled", noted)
    monkeypatch.setattr(calls, "LONG", np.inf)  # however busy the machine is
    assert faster(setup_of(TASK), Update(Layout(20, 1, 20))) in (1, MOST)
    # Twice alone, and one loop for its memory; then in turns.
    turn = [1] * MOST + [MOST]
    assert called[: 2 * MOST + 1 + len(turn)] == [1] * (2 * MOST) + [MOST] + turn
    assert (len(called) - 2 * MOST - 1) % len(turn) == 0


def test_what_is_timed_once_is_kept_with_the_run(monkeypatch, tmp_path):
    plan = GROWING.make_plan()
    setup = dataclasses.replace(setup_of(TASK), updates_per_call=MOST)
    whole, parts = (cut([40, 120], 1, 40, limit) for limit in (None, 40))
    assert worth_timing(setup, plan, whole) is None  # 98 updates
    monkeypatch.setattr(calls, "LEAST_TIMED", 75)
    assert worth_timing(setup, plan, whole) == Update(Layout(40, 1, 40))
    assert worth_timing(setup, plan, parts) is None  # 74 of one pass
    streamed = dataclasses.replace(setup, inputs=STREAMED)
    assert worth_timing(streamed, plan, whole) is None

    asked = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(microbatch, "faster", lambda *of: asked.append(of) or 3)

    def of_run(directory, **changes):
        experiment = dataclasses.replace(GROWING, **changes)
        with open_run(experiment, tmp_path / directory, devices=ONE) as run:
            assert run.driver.most(40) == run.job.setup.updates_per_call
            return run.job.setup.updates_per_call

    assert of_run("one") == of_run("one") == of_run("other") == 3
    assert len(asked) == 1
    assert json.loads((tmp_path / "one" / microbatch.FILE).read_text())["updates_per_call"] == 3
    assert of_run("given", updates_per_call=5) == 5
    file = tmp_path / "one" / microbatch.FILE  # as an older jbatch left it, which timed nothing
    kept = json.loads(file.read_text())
    del kept["updates_per_call"]
    file.write_text(json.dumps(kept))
    assert of_run("one") == MOST
