"""The fast recipe for CIFAR-10, shrunk to handwritten digits, learns, grows and resumes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jbatch import Digits, fit, load, load_file
from jbatch.distributed.preemption import PhaseEnd
from jbatch.run.checkpoint import parameters_digest

RECIPE = Path(__file__).parents[2] / "experiments" / "cifar10_94.py"


def shrunk():
    """`increasing` with a sixteenth of its batch, one narrow block, and a slower peak."""
    whole = load_file(RECIPE).variants["increasing"]
    norm = replace(whole.task.model.norm, ghost_batch=16)
    model = replace(whole.task.model, widths=(16,), norm=norm)
    optimizer = replace(whole.optimizer, every=320, horizon=1280.0)
    plan = replace(
        whole.plan,
        num_examples=1500,
        batch_size=64,
        max_batch_size=144,
        batch_multiple=16,
        rate=0.2,
    )
    # Digits are not to be mirrored.
    augment = replace(whole.task.augment, pad=1, alternating_flip=False)
    views = replace(whole.task.views, flip=False)
    task = replace(whole.task, model=model, augment=augment, views=views)
    changed = {"plan": plan, "task": task, "optimizer": optimizer}
    return replace(whole, **changed, data=Digits(), micro_batch=16)


@pytest.mark.slow
def test_the_recipe_learns_and_resumes_to_the_same_bits(tmp_path):
    experiment, lines = shrunk(), []
    run = fit(experiment, tmp_path / "run", on=[lines.append])
    scores = [line for line in lines if line["kind"] in ("eval", "test")]
    assert scores[0]["accuracy"] < 0.4
    assert scores[-1]["accuracy"] > 0.9
    assert {"accuracy", "plain_accuracy"} <= scores[-1].keys()
    sizes = {line["batch_size"] for line in lines if line["kind"] == "train"}
    assert min(sizes) == 64
    assert max(sizes) == 144
    model = load(tmp_path / "run")
    assert np.isfinite(model.metrics["loss"])
    with pytest.raises(PhaseEnd):
        fit(experiment, tmp_path / "again", until_phase=2)
    again = fit(experiment, tmp_path / "again")
    assert parameters_digest(again.state.params) == parameters_digest(run.state.params)
