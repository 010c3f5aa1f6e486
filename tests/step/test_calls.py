"""Several updates, or passes, in one call."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

from jbatch.data.resident import ResidentFeed
from jbatch.data.stream.feed import StreamedInputs
from jbatch.errors import Mistake
from jbatch.models import MLP, GhostBatchNorm, SmallCNN
from jbatch.optim import SGD
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Accumulate, Passes, Update
from jbatch.run.loop import run_until
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run
from jbatch.step import calls, flops, programs
from jbatch.step.calls import MOST, updates_per_call
from jbatch.step.driver import InFlight
from jbatch.step.programs import how, told
from marks import slow
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


class Stock(nnx.Module):
    """A network with a convolution of XLA's own."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.head = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, image):
        return self.head(self.conv(image).mean((0, 1)))


def test_what_suits_devices_and_network():
    convolutional, stock = learner_of(SmallCNN((4, 8)), SGD()), learner_of(Stock, SGD())
    assert [flops.convolutions(each) for each in (TASK, convolutional, stock)] == [
        False,
        True,
        True,
    ]
    assert updates_per_call(None, [TASK], RESIDENT, "cpu") == MOST
    assert updates_per_call(None, [convolutional], RESIDENT, "cpu") == MOST
    assert updates_per_call(None, [TASK, stock], RESIDENT, "cpu") == 1
    assert updates_per_call(None, [TASK, stock], RESIDENT, "tpu") == MOST
    assert updates_per_call(None, [TASK], RESIDENT, "gpu") == 1
    assert updates_per_call(None, [TASK], STREAMED, "tpu") == 1
    assert updates_per_call(3, [convolutional], RESIDENT, "gpu") == 3
    assert updates_per_call(1, [TASK], STREAMED, "cpu") == 1
    with pytest.raises(Mistake, match=r"updates_per_call is 3, .* leave it out, or give 1"):
        updates_per_call(3, [TASK], STREAMED, "cpu")


def test_calls_end_at_epochs_phases_logs_saves_and_evaluations(tmp_path):
    """Epochs of 37 updates, then of 12 in two passes each, which are taken one at a time."""
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
    ("examples", "expected"),
    [
        (30, (MOST, False)),
        (300, (MOST, True)),
        (700, (14, True)),
        (5000, (2, True)),
        (9999, (1, True)),
    ],
)
def test_long_updates_come_in_calls_of_few(monkeypatch, examples, expected):
    """So that a stop request waits for little: here of 10,000 examples."""
    setup = dataclasses.replace(setup_of(TASK), updates_per_call=MOST)
    monkeypatch.setattr(calls, "WORK", 1e4 * flops.of_example(TASK))
    assert calls.in_call(setup, Layout(examples, 1, 1)) == expected


def test_no_long_call_is_in_flight_but_the_last():
    waited = []

    def call(number):
        return SimpleNamespace(block_until_ready=lambda: waited.append(number))

    in_flight = InFlight(16)
    for number in range(8):
        in_flight.add(call(number), 2)
    assert waited == []
    in_flight.add(call(8), 2)  # 18 passes
    assert waited == [0]
    in_flight.add(call(9), 2, long=True)
    assert waited == list(range(9))


def test_equal_passes_that_follow_one_another_come_in_calls():
    large, small = Layout(40, 1, 20), Layout(20, 1, 20)
    passes = Passes(tuple(map(Accumulate, (large, large, large, small))))
    alone = [(7, large), (47, large), (87, large), (127, small)]
    assert list(passes.placed(7)) == alone
    assert list(passes.in_calls(7, 2)) == [(7, large, 2), (87, large, 1), (127, small, 1)]
    assert list(passes.in_calls(7, MOST)) == [(7, large, 3), (127, small, 1)]


@pytest.mark.parametrize(
    ("devices", "changes"),
    [(1, {}), slow(8, {}), (8, {"mapping": "pmap"}), (8, {"optimizer_state": "sharded"})],
)
def test_passes_of_an_update_come_in_calls(monkeypatch, tmp_path, devices, changes):
    """Five passes of 40 in two calls; one pass a call gives the same update to rounding."""
    sizes = {"batch_size": 200, "batch_sizes": (200,), "max_batch_size": 200}
    asked, plan = [], dataclasses.replace(GROWING.plan, num_epochs=1, **sizes)
    feed = ResidentFeed.arguments
    monkeypatch.setattr(
        ResidentFeed, "arguments", lambda self, *of: asked.append(of[0]) or feed(self, *of)
    )

    def updated(name, in_call):
        experiment = dataclasses.replace(
            GROWING, plan=plan, micro_batch=40 // devices, updates_per_call=in_call, **changes
        )
        asked.clear()
        with open_run(experiment, tmp_path / name, devices=jax.devices()[:devices]) as run:
            run_until(run, 2)
            return run.state

    together = updated("together", 3)
    assert asked == [0, 120, 200, 320]
    apart = updated("apart", 1)
    assert asked == [40 * number for number in range(10)]
    # The same sums in another program, as above.
    for one, other in zip(*map(jax.tree.leaves, (together, apart)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
