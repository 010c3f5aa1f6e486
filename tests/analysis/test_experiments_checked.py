"""Every kind of experiment trains the same however its updates are split."""

from dataclasses import replace
from pathlib import Path

import jax
import optax
import pytest

import jbatch
from jbatch import Classify, Coupling, Generated
from jbatch.analysis.split_check import check_experiment

FOLDER = Path(__file__).parents[2] / "experiments"
TOO_LARGE = ("InceptionResNetV2", "ResNet50", "KeskarC2")  # long to compile on CPUs
FAST = "Adam"


def kinds() -> dict[str, jbatch.Experiment]:
    """One experiment of each model, each norm, each dtype and each optimizer, made small.

    What an optimizer is given does not depend on it, so each is tried with the first small network.
    """
    found, optimizers = {}, {}
    for path in sorted(FOLDER.glob("*.py")):
        for experiment in jbatch.load_file(path).variants.values():
            task, optimizer = experiment.task, experiment.optimizer
            if not isinstance(task, Classify):
                continue  # tests/task has the check of language models
            names = type(task.model).__name__, type(task.model.norm).__name__, task.dtype
            found.setdefault(", ".join(names), experiment)
            nesterov = " nesterov" * getattr(optimizer, "nesterov", False)
            optimizers.setdefault(type(optimizer).__name__ + nesterov, experiment)
    first = found["MLP, GhostBatchNorm, float32"].task
    del optimizers["SGD"], optimizers["Lookahead"]  # that network's own, and Airbench's
    found |= {name: replace(each, task=first) for name, each in optimizers.items()}
    chosen, seen = {}, set()
    for name, experiment in found.items():
        parts = set(name.split(", "))
        if not name.startswith(TOO_LARGE) and not parts <= seen:
            chosen[name] = small(experiment)
            seen |= parts
    return chosen


def small(experiment: jbatch.Experiment) -> jbatch.Experiment:
    model, plan = experiment.task.model, experiment.plan
    if hasattr(model.norm, "ghost_batch"):
        model = replace(model, norm=replace(model.norm, ghost_batch=8))
    # Compilation is nearly all of the time.
    few = {"widths": (8,)}
    fewer = dict.fromkeys(("SmallCNN", "CifarResNet", "Airbench"), few)
    fewer["WideResNet"] = {"depth": 10, "widen": 1}
    model = replace(model, **fewer.get(type(model).__name__, {}))
    size = 32 if isinstance(model, jbatch.KeskarC1) else 8  # which halves images four times
    rate = optax.constant_schedule(float(plan.schedule(0)))
    return jbatch.Experiment(
        # Two updates, because Rprop moves nothing in its first.
        Coupling(rate, num_examples=16, num_epochs=2, batch_size=16, momentum=plan.momentum),
        task=Classify(model, augment=experiment.task.augment, dtype=experiment.task.dtype),
        data=Generated(16, 8, (size, size, 3), 10),
        optimizer=experiment.optimizer,
    )


KINDS = kinds()


@pytest.mark.parametrize(
    "name", [name if name == FAST else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_a_kind_of_experiment_trains_the_same_in_two_passes(name):
    outcomes = {}
    for one in check_experiment(KINDS[name], jax.devices()[:1]):
        outcomes[one.what] = one
        if one.what == "1 device, 2 passes":  # the rest takes long, and other tests have it
            break
    assert all(one.passed for one in outcomes.values()), outcomes
    assert "1 device, 2 passes" in outcomes
