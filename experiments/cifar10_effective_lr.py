"""Larger learning rates and momenta, with the batch that keeps the noise scale, save most updates.

Smith et al. (arXiv 1711.00489), section 5.2, figure 4: the network, data and schedule of section
5.1, with momentum, and with batches of at most 5,120 (about N/10). All four variants start at the
same εN/(B(1−m)).

Claim:    78,000, 29,040, 6,300 and 2,160 updates; the paper's test accuracies are 94.3%, 94.4%,
          94.5% and 93.3%: the first three agree within 0.5 points, the last ends lower.
Cost:     as in section 5.1: 200 epochs of CIFAR-10 per run. This needs a GPU.
Command:  jbatch prepare cifar10 --from cifar-10-python.tar.gz
          jbatch compare experiments/cifar10_effective_lr.py
"""

import optax

from jbatch import (
    SGD,
    TFDS,
    Augment,
    Claim,
    Classify,
    Comparison,
    Coupling,
    Experiment,
    GhostBatchNorm,
    WideResNet,
)

STEPS = {60: 1 / 5, 120: 1 / 5, 160: 1 / 5}
SETTINGS = {  # learning rate, momentum, first batch size, largest batch size
    "original": (0.1, 0.9, 128, 128),
    "increasing-batch": (0.1, 0.9, 128, 5120),
    "increased-initial-rate": (0.5, 0.9, 640, 5120),
    "increased-momentum": (0.5, 0.98, 3200, 5120),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(learning_rate, STEPS),
            num_examples=50_000,
            num_epochs=200,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            growth_factor=5,
            momentum=momentum,
        ),
        task=Classify(WideResNet(16, 4, GhostBatchNorm(128)), augment=Augment(pad=4, flip=True)),
        data=TFDS("cifar10"),
        optimizer=SGD(weight_decay=5e-4),
    )
    for name, (learning_rate, momentum, batch_size, max_batch_size) in SETTINGS.items()
}

comparison = Comparison(
    (
        Claim(
            "original",
            same=("increasing-batch", "increased-initial-rate"),
            different=("increased-momentum",),
        ),
    )
)
