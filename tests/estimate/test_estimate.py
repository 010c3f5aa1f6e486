"""What is made of the compiler's counts: arithmetic that can be done by hand."""

import json

import jax
import numpy as np
import pytest

from commands import TINY
from jbatch import Arrays, CifarResNet, Classify, Coupling, Experiment, GhostBatchNorm
from jbatch.devices.memory import Memory
from jbatch.estimate.chips import CHIPS, Chip
from jbatch.estimate.gpus import GPUS
from jbatch.estimate.hlo_costs import Facts, facts_of, stored_facts
from jbatch.estimate.roofline import ON_GPUS, estimate, one_update
from jbatch.estimate.table import estimate_json, estimate_text
from jbatch.estimate.worker import Call, Compiler, Work
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Update
from jbatch.run.build import counted, make_setup
from jbatch.run.reopen import load_experiment_file
from jbatch.step import programs, pure

GROWING = load_experiment_file(TINY).variant("growing")
PLAN = GROWING.plan.plan()
CHIP = Chip("v0", "v0", flops=1e12, bandwidth=1e9, memory=2**30, links=5e8, source="nobody")


def facts(flops, traffic, reduced=0, total=2**20):
    accessed, cycles, memory = 10 * traffic, 7, Memory(total, 0, 0, 0)  # the first is not used
    return Facts(flops, accessed, traffic, cycles, reduced, int(reduced > 0), 0, memory)


# Of two passes bound by memory and an end bound by arithmetic, with 40 MB to reduce.
UPDATE = Work(10, 5, 2**21, [Call(2, facts(1e9, 4e6)), Call(1, facts(5e9, 1e6, 4 * 10**7, 2**21))])
ALONE = Work(40, 5, 2**20, [Call(8, facts(1e9, 4e6)), Call(1, facts(5e9, 1e6))])


def test_an_update_takes_as_long_as_the_slower_of_arithmetic_and_memory():
    update = one_update(UPDATE, CHIP, 4)
    assert update.computing == pytest.approx(2 * 4e-3 + 5e-3)
    assert update.reducing == pytest.approx(2 * 3 / 4 * 4e7 / 5e8)
    assert update.seconds == pytest.approx(update.computing + update.reducing)
    assert (update.flops, update.traffic, update.memory) == (7e9, 9e6, 2**21)
    assert (update.cycles, update.reductions, update.asynchronous) == (21, 1, 0)
    assert one_update(UPDATE, CHIP, 1).reducing == 0


def test_a_phase_costs_what_images_of_its_side_cost(monkeypatch, tmp_path):
    """Its programs are those that the run compiles for its batch size."""
    images = np.zeros((96, 8, 8, 1), np.uint8)
    data = Arrays(*({"image": images[:n], "label": np.arange(n) % 3} for n in (96, 9)))
    task = Classify(CifarResNet(1, (4,), GhostBatchNorm(8)), sides=((16, 4), (32, 6)))
    plan = Coupling(lambda epoch: 0.05, num_epochs=2, ramp={0: 16, 1: 32}, momentum=0.9)
    experiment = counted(Experiment(plan, task=task, data=data))
    planned = experiment.make_plan()
    setup, _ = make_setup(experiment, planned, jax.devices()[:1])
    asked = []
    monkeypatch.setattr(Compiler, "_found", lambda _, *of: asked.append(of) or facts(1, 1))
    works = Compiler("v0:1x1", setup, tmp_path, print).work(planned, None)
    assert sorted(works) == [16, 32]
    sides = {call.layout.size: at.task.side for at, call in asked}
    assert sides == {16: 4, 32: 6}


def test_phases_take_their_updates_and_are_held_against_one_chip():
    works = {40: UPDATE, 120: UPDATE._replace(share=30)}
    alone = {40: ALONE, 120: ALONE._replace(calls=[Call(24, facts(1e9, 4e6)), ALONE.calls[1]])}
    first, second = estimate(PLAN, CHIP, 4, works, alone)
    assert first.hours == pytest.approx(74 * 0.133 / 3600)
    assert first.efficiency == pytest.approx((8 * 4e-3 + 5e-3) / 0.133 / 4)
    assert second.efficiency == pytest.approx((24 * 4e-3 + 5e-3) / 0.133 / 4)
    text = estimate_text([first, second], CHIP, 4, 2**29, 1.5)
    assert "Estimated for 4 v0 chips (1 TFLOP/s, 1 GB/s, links 0.5 GB/s each way; nobody)" in text
    assert "Programs may use 512 MiB" in text
    [row] = [line.split() for line in text.splitlines() if line.startswith("2 ")]
    assert row[:9] == ["2", "120", "30", "5", "2", "MiB", "0.007", "0.009", "40"]
    assert row[9:] == ["13", "120", "7.52", "902", "0.00", "19%"]
    assert "A measured update took 1.6 times the estimate: ResNet-50" in text
    hours = first.hours + second.hours
    values = estimate_json([first, second], CHIP, 4, 1.5)
    assert (values["chip_hours"], values["cost"]) == pytest.approx((4 * hours, 6 * hours))
    assert " in total, 0.0 to 0.0 chip-hours, 0 to 0 at 1.5 per chip-hour" in text
    [h100] = [chip for chip in CHIPS if chip.name == "h100"]
    text = estimate_text([first] * 9, h100, 4, 2**29, 100.0)
    least = 9 * 4 * first.hours
    assert f" in total, {least:,.1f} to {least * ON_GPUS.slowest:,.1f} chip-hours" in text
    assert f"A measured update took {ON_GPUS.slowest:g} times the estimate: Wide ResNet" in text
    assert values["phases"][0]["updates_per_second"] == pytest.approx(1 / 0.133)


def test_a_smooth_plan_is_cut_short_for_people():
    works = {40: UPDATE, 120: UPDATE}
    many = estimate(PLAN, CHIP, 4, works, {40: ALONE, 120: ALONE}) * 30
    text = estimate_text(many, CHIP, 4, 2**29, None)
    assert "… 20 more (--json has all)" in text
    assert len(estimate_json(many, CHIP, 4, None)["phases"]) == 60


def test_all_reduces_are_read_off_the_compiled_program():
    setup = make_setup(GROWING, PLAN, jax.devices())[0]
    compiled = programs.lowered(setup, Update(Layout(320, 8, 40))).compile()
    found = facts_of(compiled)
    state = pure.state_shapes(setup.learner)
    leaves = jax.tree.leaves((state.params, state.stats))
    # Loss and number right, each with its weight, go with them.
    assert found.reduced == sum(leaf.size * 4 for leaf in leaves) + 4 * 4
    assert found.reductions == 1
    assert min(found.flops, found.accessed, found.traffic, found.memory.total) > 0
    assert stored_facts(json.loads(json.dumps(found))) == found


def test_chips_are_as_published():
    assert {chip.name for chip in CHIPS} == {"v4", "v5e", "v5p", "v6e", *GPUS}
    for chip in CHIPS:
        # Arithmetic intensities of TPUs, and links slower than memory.
        assert 100 < chip.flops / chip.bandwidth < 700
        assert chip.links < chip.bandwidth
