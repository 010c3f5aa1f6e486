"""The paper's three schedules on CIFAR-10 with the paper's network, in 30 epochs.

Smith et al. (arXiv 1711.00489), section 5.1, figures 1 and 2, with 30 of its 200 epochs, in
bfloat16: a Wide ResNet 16-4 with momentum. The noise scale is divided by 5 after 30%, 60% and 80%
of the run, as in the paper.

Claim:    training loss and test accuracy against epochs coincide: hybrid and increasing end within
          0.5 points of decaying, in 5,148 and 4,320 updates instead of 11,700.
Cost:     30 to 75 seconds per run of decaying or hybrid, while two or three processes share an H200
          GPU; 25 to 28 seconds per run of increasing, alone on an H100. The first start compiles:
          40 seconds for decaying, and about four minutes in all for increasing, whose last batches
          are 16,000 examples.
Command:  jbatch prepare cifar10 --from cifar-10-python.tar.gz
          jbatch compare experiments/cifar10_short.py decaying hybrid
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

EPOCHS = 30
STEPS = {9: 1 / 5, 18: 1 / 5, 24: 1 / 5}
MAX_BATCH_SIZES = {"decaying": 128, "hybrid": 640, "increasing": 16_000}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(0.1, STEPS),
            num_examples=50_000,
            num_epochs=EPOCHS,
            batch_size=128,
            max_batch_size=max_batch_size,
            growth_factor=5,
            momentum=0.9,
        ),
        task=Classify(
            WideResNet(16, 4, GhostBatchNorm(128)),
            augment=Augment(pad=4, flip=True),
            dtype="bfloat16",
        ),
        data=TFDS("cifar10"),
        optimizer=SGD(weight_decay=5e-4),
        save_every=EPOCHS,
    )
    for name, max_batch_size in MAX_BATCH_SIZES.items()
}

comparison = Comparison((Claim("decaying", same=("hybrid", "increasing")),))
