"""What programs hold of a device's memory: no second copy of the state, and what a plan says."""

import json
from functools import partial

import jax
import pytest
from jax.sharding import AbstractMesh

from commands import TINY
from jbatch.cli import main
from jbatch.plan.layout import AXIS, Layout
from jbatch.plan.passes import Accumulate, Apply, Update
from jbatch.run.build import counted, make_setup, paper_setup
from jbatch.run.reopen import load_experiment_file
from jbatch.step import held, programs, pure

GROWING = load_experiment_file(TINY).variant("growing")
PLAN = GROWING.plan.plan()
WHOLE = Layout(40, 8, 40)


def size(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def setup():
    return make_setup(GROWING, PLAN, jax.devices())[0]


@pytest.mark.parametrize("kind", ["update", "accumulate", "apply"])
def test_donated_memory_is_taken_by_the_results(setup, kind):
    """There is never a second copy of the state, or of the sums."""
    state = pure.state_shapes(setup.learner)
    sums = jax.eval_shape(partial(pure.no_sums, setup.learner), state)
    lowered = {
        "update": lambda: programs.lowered(setup, Update(WHOLE)),
        "accumulate": lambda: programs.lowered(setup, Accumulate(WHOLE)),
        "apply": lambda: programs.lowered(setup, Apply()),
    }[kind]()
    compiled = lowered.compile()
    taken = {
        "update": size(state),
        "accumulate": size(sums),
        "apply": size(state) + size(sums),
    }[kind]
    # The state's totals are one of several scalars.
    assert compiled.memory_analysis().alias_size_in_bytes >= taken - 64
    outputs = programs.compiled(setup, Update(WHOLE)).memory.outputs
    assert outputs <= 256  # the loss, and where results are


def test_a_plan_knows_what_devices_would_hold(setup):
    found = held.in_memory(setup, WHOLE)
    kernels, scales = (64 * 32 + 32 * 10), 2 * 32
    assert found["parameters"] == 4 * (kernels + scales + 10) == found["optimizer state"]
    assert found["statistics"] == 4 * 2 * 32
    assert found["gradients and sums"] == found["parameters"] + found["statistics"]
    # Of 5 examples: input, what the hidden layer has before and after its norm, logits, at least.
    assert found["activations"] >= 4 * 5 * (64 + 2 * 32 + 10)
    images, labels, order = 1500 * 64, 4 * 1500, 4 * 1500
    test = 297 * (64 + 4)
    assert found["data"] == pytest.approx(images + labels + order + test, abs=64)
    assert found == held.in_memory(paper_setup(GROWING, PLAN, 8), WHOLE)


def test_activations_grow_with_the_examples():
    mesh = AbstractMesh((1,), (AXIS,))
    assert paper_setup(GROWING, PLAN, 1).mesh == mesh
    small, large = (
        held.in_memory(paper_setup(GROWING, PLAN, 1), Layout(size, 1, 40)) for size in (40, 120)
    )
    assert large["activations"] == pytest.approx(3 * small["activations"], rel=0.01)
    assert large["parameters"] == small["parameters"]


SIDES = """
import jbatch, numpy as np
images = np.zeros((96, 8, 8, 1), np.uint8)
data = jbatch.Arrays(*({"image": images[:n], "label": np.arange(n) % 3} for n in (96, 9)))
network = jbatch.CifarResNet(1, (4,), jbatch.GhostBatchNorm(8))
plan = jbatch.Coupling(lambda epoch: 0.05, num_epochs=2, ramp={0: 16, 1: 32}, momentum=0.9)
task = jbatch.Classify(network, sides=((16, 6), (32, 4)))
variants = {"smaller": jbatch.Experiment(plan, task=task, data=data)}
"""


def test_each_phase_holds_images_of_its_own_side(tmp_path, capsys):
    """16 images of 6×6 pixels need more than 32 of 4×4, and both less than 32 of 8×8."""
    (tmp_path / "sides.py").write_text(SIDES)
    assert main(["plan", str(tmp_path / "sides.py"), "smaller", "--devices", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["memory"]
    experiment = counted(load_experiment_file(tmp_path / "sides.py").variant("smaller"))
    setup = paper_setup(experiment, experiment.make_plan(), 1)
    assert found == {"micro_batch": 16} | held.in_memory(setup.at(16), Layout(16, 1, 8))
    assert found["activations"] < held.in_memory(setup, Layout(32, 1, 8))["activations"]


def test_plan_prints_it(capsys):
    assert main(["plan", str(TINY), "growing", "--devices", "8"]) == 0
    said = capsys.readouterr().out
    assert "Memory of each of 8 devices, with a micro-batch of 15: parameters 9.54 KiB" in said
    assert main(["plan", str(TINY), "growing", "--devices", "8", "--micro-batch", "5"]) == 0
    assert "with a micro-batch of 5:" in capsys.readouterr().out
