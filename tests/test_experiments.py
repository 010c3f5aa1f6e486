"""The kinds of networks, norms, optimizers and dtypes of experiments/ pass `jbatch check`."""

from dataclasses import replace
from pathlib import Path

import jax
import optax
import pytest

import jbatch
from jbatch import Coupling, Experiment, Generated, GhostBatchNorm
from jbatch.analysis.split_check import check_experiment
from marks import slow

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
# File, variant → smallest images of the network's kind.
FAST = ("full_batch", "full batch by Rprop", (8, 8, 1))
KINDS = (
    FAST,
    ("batch_size_sweep", "one rate, batch size 1", (8, 8, 1)),
    ("batch_size_sweep_cifar10", "one rate, batch size 4", (16, 16, 3)),
    ("cifar10_annealing", "sgd-decaying", (16, 16, 3)),
    ("cifar10_annealing", "adam-decaying", (16, 16, 3)),
    ("cifar10_short", "decaying", (16, 16, 3)),
    ("fashion_mnist", "decaying", (16, 16, 1)),
    ("imagenet_miniature", "true-sizes", (8, 8, 3)),
    ("imagenet_miniature", "photographs", (16, 16, 3)),
    ("norms", "layer norm, batch size 2", (16, 16, 1)),
    ("norms", "weight norm, batch size 2", (16, 16, 1)),
    ("norms", "local response norm, batch size 2", (16, 16, 1)),
    ("norms", "no norm, batch size 2", (16, 16, 1)),
    ("sharp_minima", "f1-small", (28, 28, 1)),
    ("sharp_minima", "c1-small", (32, 32, 3)),
    ("sharp_minima", "c2-small", (32, 32, 3)),
)

LARGE = {"InceptionResNetV2", "ResNet50"}  # whose programs take minutes to compile


def kind(experiment: Experiment) -> tuple[str, ...]:
    """What decides how an experiment's updates split."""
    model = experiment.task.model
    parts = type(model), type(getattr(model, "norm", None)), type(experiment.optimizer)
    return *(part.__name__ for part in parts), experiment.task.dtype


def variants(file: str) -> dict[str, Experiment]:
    return jbatch.load_file(EXPERIMENTS / f"{file}.py").variants


def test_every_kind_is_among_those_that_are_checked():
    checked = {kind(variants(file)[name]) for file, name, _ in KINDS}
    for path in EXPERIMENTS.glob("*.py"):
        for name, experiment in variants(path.stem).items():
            if experiment.task is not None and kind(experiment)[0] not in LARGE:
                assert kind(experiment) in checked, f"{path}, {name}"


@pytest.mark.parametrize(
    ("file", "name", "shape"), [case if case is FAST else slow(*case) for case in KINDS]
)
def test_it_passes(file, name, shape):
    """With small groups, on small random images, for two devices."""
    experiment = variants(file)[name]
    model = experiment.task.model
    if isinstance(getattr(model, "norm", None), GhostBatchNorm):
        model = replace(model, norm=replace(model.norm, ghost_batch=16))
    small = replace(
        experiment,
        plan=Coupling(
            optax.constant_schedule(0.01),
            num_epochs=1,
            batch_size=32,
            momentum=experiment.plan.momentum,
        ),
        task=replace(experiment.task, model=model),
        data=Generated(num_train=128, num_test=20, shape=shape, num_classes=10),
        micro_batch=None,
        updates_per_call=None,
    )
    failed = [each for each in check_experiment(small, jax.devices()[:2]) if not each.passed]
    assert not failed
