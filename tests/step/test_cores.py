"""How many of a CPU's cores, each a device of XLA, a run uses."""

import os
import subprocess
import sys

import pytest

from jbatch.machine import usable_cores
from jbatch.models import MLP, GhostBatchNorm, SmallCNN
from jbatch.optim import SGD
from jbatch.plan.layout import Layout
from jbatch.step import cores, flops
from small_runs import learner_of

CNN = learner_of(SmallCNN((64, 32), GhostBatchNorm(8)), SGD())
WORK = flops.of_pass(CNN, Layout(8, 1, 8))  # of a ghost batch


@pytest.mark.parametrize(
    ("batch_sizes", "there", "shares", "used"),
    [
        ((8, 64), 4, 4, 4),
        ((8, 64), 4, 3.9, 2),  # work for three, which cannot share eight examples
        ((8, 64), 4, 1.9, 1),
        ((8, 64), 1, 4, 1),
        ((16, 64), 4, 2, 4),  # twice as much work in the smallest batch
        ((24, 48), 4, 1, 3),
        ((24, 50), 4, 1, 1),
    ],
)
def test_a_share_of_the_smallest_batch_is_worth_a_device(
    monkeypatch, batch_sizes, there, shares, used
):
    """`shares`: how many devices a ghost batch of eight examples keeps busy."""
    monkeypatch.setattr(cores, "LEAST", WORK / shares)
    assert cores.worthwhile(CNN, batch_sizes, there) == used


def test_products_alone_use_all_cores_on_one_device(monkeypatch):
    monkeypatch.setattr(cores, "LEAST", 1)
    assert cores.worthwhile(learner_of(MLP((8,)), SGD()), (64,), 4) == 1


SHOW = """
import jax
from jbatch.devices import cores, meshes
cores.each_a_device()
cores.each_a_device()  # once is enough
print(len(meshes.all_devices()), cores.optional(jax.devices()), cores.needed(jax.devices()))
"""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, f"{usable_cores()} True 1"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, "3 False 3"),
        ({"JAX_NUM_CPU_DEVICES": "1"}, "1 False 1"),
    ],
)
def test_a_person_chooses_the_number_of_devices(chosen, expected):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    found = subprocess.run(
        [sys.executable, "-c", SHOW], env=environment | chosen, capture_output=True, text=True
    )
    assert found.stdout.strip() == expected, found.stderr


LATER = """
import os
import jax
from jbatch.devices import cores, meshes
cores.each_a_device()
{choice}
print(len(meshes.all_devices()), cores.optional(jax.devices()), cores.optional(jax.devices()[:1]))
"""


@pytest.mark.parametrize(
    "choice",
    [
        "os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=3'",
        "jax.config.update('jax_num_cpu_devices', 3)",
    ],
)
def test_an_experiment_file_chooses_it_too(choice):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    script = LATER.format(choice=choice)
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert found.stdout.strip() == "3 False False", found.stderr
