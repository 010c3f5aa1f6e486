"""Progressive resizing: a phase's images have the side of its batch size."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbatch import (
    MLP,
    Arrays,
    Augment,
    CifarResNet,
    Classify,
    Coupling,
    Experiment,
    GhostBatchNorm,
    Mistake,
    fit,
)
from jbatch.data.keys import example_keys
from jbatch.data.open import load
from jbatch.devices.memory import Memory
from jbatch.run.build import counted, make_setup
from jbatch.step import programs
from jbatch.step.autotune import choose

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (96, 8, 8, 1)).astype(np.uint8)
ARRAYS = Arrays(*({"image": IMAGES[:n], "label": np.arange(n) % 3} for n in (96, 9)))
TASK = Classify(CifarResNet(1, (4,), GhostBatchNorm(8)), sides=((16, 4), (32, 6)))


def test_updates_see_images_of_their_side_and_evaluations_the_whole():
    task = TASK.fitted(load(ARRAYS).about)
    keys = example_keys(np.uint32(0), np.uint32(0), np.arange(3, dtype=np.uint32))
    images = jnp.asarray(IMAGES[:3])
    assert task.at(8) is task
    for batch_size, side in ((16, 4), (31, 4), (32, 6), (96, 6)):
        seen = task.at(batch_size).images(images, keys)
        whole = task.images(images, keys)
        np.testing.assert_allclose(
            seen, jax.image.resize(whole, (3, side, side, 1), "linear"), atol=1e-6
        )
        assert task.at(batch_size).images(images, None).shape == (3, 8, 8, 1)


@pytest.mark.slow
def test_a_run_changes_its_side_with_its_batch(tmp_path):
    """The first epoch's images have 4 pixels in both runs, the second epoch's differ."""
    plan = Coupling(lambda epoch: 0.05, num_epochs=2, ramp={0: 16, 1: 32}, momentum=0.9)
    small = replace(TASK, augment=Augment(pad=1))
    losses = {}
    for name, sides in {"grows": small.sides, "stays": ((16, 4),)}.items():
        lines = []
        task = replace(small, sides=sides)
        fit(Experiment(plan, task=task, data=ARRAYS), tmp_path / name, on=[lines.append])
        losses[name] = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses["grows"][0] == losses["stays"][0]
    assert losses["grows"][1] != losses["stays"][1]


def test_a_micro_batch_fits_images_of_every_side(monkeypatch, tmp_path):
    """What the micro-batch needs is compiled as the run compiles it."""
    asked = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    memory = lambda at, _: asked.append(at.task.side) or Memory(0, 0, 0, 0)  # noqa: E731
    monkeypatch.setattr(programs, "memory", memory)
    plan = Coupling(lambda epoch: 0.05, num_epochs=2, ramp={0: 16, 1: 32}, momentum=0.9)
    experiment = counted(Experiment(plan, task=TASK, data=ARRAYS))
    setup, _ = make_setup(experiment, experiment.make_plan(), jax.devices()[:1])
    assert choose(setup, [16, 32], 8, None, 2**40).limit is None
    assert set(asked) == {4, 6}


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(Mistake, match=r"sides is \(\(32, 6\), \(16, 4\)\): give pairs of \(batch"):
        replace(TASK, sides=((32, 6), (16, 4)))
    fixed = Classify(MLP((4,)), sides=((1, 4),))
    plan = Coupling(lambda epoch: 0.05, num_epochs=1, batch_size=16)
    with pytest.raises(Mistake, match="in updates of 16 examples, the task fails"):
        fit(Experiment(plan, task=fixed, data=ARRAYS), tmp_path / "run")
