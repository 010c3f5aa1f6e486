"""Networks that `benchmarks.cold_start` starts, on random images, growing from batch 128.

It logs every update, so that the first line of metrics tells when the first update was done.
"""

import numpy as np
import optax

from jbatch import Arrays, Classify, Coupling, Experiment, GhostBatchNorm, SmallCNN, WideResNet

NETWORKS = {
    "cnn": (SmallCNN((16, 32, 64), GhostBatchNorm(128)), (28, 28, 1)),
    "wrn-16-4": (WideResNet(16, 4), (32, 32, 3)),
}
COUNT = 12_800


def _images(shape: tuple[int, ...]) -> Arrays:
    rng = np.random.default_rng(0)
    train = {
        "image": rng.integers(0, 256, (COUNT, *shape), dtype=np.uint8),
        "label": rng.integers(0, 10, COUNT),
    }
    return Arrays(train, {name: values[:256] for name, values in train.items()}, num_classes=10)


variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(0.01, {1: 1 / 5}),
            num_examples=COUNT,
            num_epochs=2,
            batch_size=128,
            batch_sizes=(128, 640),
            momentum=0.9,
        ),
        task=Classify(model),
        data=_images(shape),
        log_every=128 / COUNT,
    )
    for name, (model, shape) in NETWORKS.items()
}
