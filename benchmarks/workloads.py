"""Define the benchmarks' networks and their data: random images of the real dataset's shape."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import optax

from jbatch.data.image.augment import Augment
from jbatch.data.sources import Arrays
from jbatch.experiment.experiment import Coupling, Experiment
from jbatch.models import (
    MLP,
    GhostBatchNorm,
    InceptionResNetV2,
    Model,
    ResNet50,
    SmallCNN,
    WideResNet,
)
from jbatch.optim import SGD
from jbatch.task.classify import Classify, Dtype


class Workload(NamedTuple):
    """Hold a network and the shape of its data."""

    model: Model
    shape: tuple[int, ...]  # (H, W, C)
    classes: int
    epoch: int  # examples of its dataset
    held: int  # random examples made here; the speed is the same
    sizes: tuple[int, ...]  # batch sizes measured by default


WORKLOADS = {
    # From one example to all of MNIST, as in Lee's lecture on batches.
    "mlp": Workload(
        MLP(hidden=(512, 512)), (28, 28, 1), 10, 60_000, 60_000,
        (1, 8, 32, 128, 1024, 8192, 60_000),
    ),
    "cnn": Workload(
        SmallCNN((16, 32, 64), GhostBatchNorm(128)), (28, 28, 1), 10, 60_000, 60_000,
        (32, 128, 640, 3200),
    ),
    "wrn-16-4": Workload(WideResNet(16, 4), (32, 32, 3), 10, 50_000, 50_000, (32, 128)),
    "resnet-50": Workload(ResNet50(), (224, 224, 3), 1000, 1_281_167, 2_048, (64, 128, 256)),
    "inception-resnet-v2": Workload(
        InceptionResNetV2(), (299, 299, 3), 1000, 1_281_167, 1_024, (32, 64)
    ),
}  # fmt: skip
FOR_CPUS = ("mlp", "cnn", "wrn-16-4")
ENDLESS = 2e6  # updates of a plan, more than any measurement needs


def data_of(workload: Workload) -> Arrays:
    """Make random images and labels, from seed 0."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (workload.held, *workload.shape), dtype=np.uint8)
    labels = rng.integers(0, workload.classes, workload.held)
    train = {"image": images, "label": labels}
    test = {name: values[:256] for name, values in train.items()}
    return Arrays(train, test, num_classes=workload.classes)


def _within(model: Model, size: int) -> Model:
    """Limit a network's ghost batch to the batch size."""
    norm = model.norm
    if not isinstance(norm, GhostBatchNorm) or norm.ghost_batch <= size:
        return model
    return replace(model, norm=replace(norm, ghost_batch=size))


def experiment_of(
    workload: Workload,
    data: Arrays,
    size: int,
    *,
    augment: Augment = Augment(pad=2),  # noqa: B008
    dtype: Dtype = "float32",
    **changes,
) -> Experiment:
    """Make an experiment of endless training at one batch size.

    It has momentum 0.9, weight decay and crops. Logs and checkpoints are as frequent as by default
    on the whole dataset.
    """
    size = min(size, workload.held)
    plan = Coupling(
        schedule=optax.constant_schedule(1e-3),
        num_examples=workload.held,
        num_epochs=ENDLESS * size / workload.held,
        batch_size=size,
        batch_sizes=(size,),
        momentum=0.9,
    )
    return Experiment(
        plan=plan,
        task=Classify(_within(workload.model, size), augment=augment, dtype=dtype),
        data=data,
        eval_every=ENDLESS,
        log_every=workload.epoch / workload.held,
        save_every=10 * workload.epoch / workload.held,
        **{"optimizer": SGD(weight_decay=5e-4), **changes},
    )
