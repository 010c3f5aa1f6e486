"""Schedules that are plain functions, and plans where NumPy alone is installed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jbatch


def cosine(value):
    return 6e-4 * (0.1 + 0.9 * (1 + math.cos(math.pi * min(1.0, value / 300e9))) / 2)


def in_tokens(schedule):
    return jbatch.couple(
        schedule,
        unit="tokens",
        length=300e9,
        sequence_length=2048,
        batch_size=256,
        batch_sizes=[256, 512, 1024],
        scaling=0.5,
        momentum=0.9,
    )


def test_a_function_of_math_is_its_schedule_of_optax():
    plain = in_tokens(cosine)
    traced = in_tokens(optax.cosine_decay_schedule(6e-4, 300_000_000_000, alpha=0.1))
    np.testing.assert_array_equal(plain.positions, traced.positions)
    np.testing.assert_array_equal(plain.batch_sizes, traced.batch_sizes)
    np.testing.assert_allclose(plain.learning_rates, traced.learning_rates, rtol=1e-6)


STEPS = optax.piecewise_constant_schedule(0.1, {2: 0.5, 4: 0.5})
TABLE = np.array([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
PLAIN = {
    "branches": lambda epoch: 0.1 if epoch < 2 else 0.05 if epoch < 4 else 0.025,
    "a table": lambda epoch: TABLE[int(epoch)],
    "NumPy": lambda epoch: np.interp(math.floor(epoch), np.arange(6), TABLE),
    "a NumPy scalar": lambda epoch: np.float32(0.1) if epoch < 2 else STEPS(epoch),
}


@pytest.mark.parametrize("schedule", PLAIN.values(), ids=PLAIN)
def test_what_jax_cannot_trace_is_called_with_floats(schedule):
    values = {"num_examples": 1000, "num_epochs": 6, "batch_size": 10, "growth_factor": 2}
    plan, expected = (jbatch.couple(each, **values) for each in (schedule, STEPS))
    assert plan.digest == expected.digest


def test_a_function_gets_one_float_at_a_time():
    seen = set()

    def schedule(epoch):
        seen.add(type(epoch))
        return 0.1 if epoch < 1 else 0.05

    jbatch.couple(schedule, num_examples=100, num_epochs=2, batch_size=10)
    assert float in seen
    assert all(kind is float or "Tracer" in kind.__name__ for kind in seen)


def test_an_older_jax_counts_as_none(monkeypatch):
    monkeypatch.delattr(jax, "enable_x64")
    monkeypatch.delitem(sys.modules, "jbatch.plan.traced")
    monkeypatch.delattr(sys.modules["jbatch.plan"], "traced")
    seen = set()
    jbatch.couple(
        lambda epoch: seen.add(type(epoch)) or 0.1, num_examples=9, num_epochs=1, batch_size=3
    )
    assert seen == {float}


ALONE = """
import json, math, sys

class Nothing:
    # Beside NumPy, nothing can be imported.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names | {"jbatch", "numpy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
import jbatch
from jbatch.plan.measure import Measure

def cosine(value):
    return 6e-4 * (0.1 + 0.9 * (1 + math.cos(math.pi * min(1.0, value / 300e9))) / 2)

plan = jbatch.couple(
    cosine, unit="tokens", length=300e9, sequence_length=2048, batch_size=256,
    batch_sizes=[256, 512, 1024], scaling=0.5, momentum=0.9,
)
constant = jbatch.couple(lambda epoch: 0.1, num_examples=1000, num_epochs=3, ramp={0: 10, 1: 20})
plan.check(64, None)
outside = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
print(json.dumps({
    "digests": [plan.digest, constant.digest],
    "text": str(plan),
    "json": json.loads(plan.to_json()),
    "micro-batches": [plan.every(64)(update) for update in range(0, len(plan), 200_000)],
    "ramps": str(jbatch.megatron_ramp(32, 32, 65536, 96)),
    "outside": sorted(outside & {"jax", "optax", "flax", "scipy", "tyro", "msgspec", "rich"}),
}))
"""


def test_a_plan_needs_numpy_alone():
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    told, plan = json.loads(done.stdout), in_tokens(cosine)
    constant = jbatch.couple(
        lambda epoch: 0.1, num_examples=1000, num_epochs=3, ramp={0: 10, 1: 20}
    )
    assert told["digests"] == [plan.digest, constant.digest]
    assert told["text"] == str(plan)
    assert told["json"] == json.loads(plan.to_json())
    every = [plan.every(64)(update) for update in range(0, len(plan), 200_000)]
    assert told["micro-batches"] == every
    assert told["outside"] == []
