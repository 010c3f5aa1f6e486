"""Growing the batch does what decaying the learning rate does, for four optimizers.

Smith et al. (arXiv 1711.00489), section 5.1, figures 1 to 3: a Wide ResNet 16-4 on CIFAR-10 for 200
epochs. The noise scale is divided by 5 at epochs 60, 120 and 160, in three ways: by decaying the
learning rate, by growing the batch, or by growing the batch once and then decaying the learning
rate ("hybrid"). All three give the same curves against epochs, in 78,000, 28,800 and 34,320
updates.

Claim:    for each optimizer, training loss and test accuracy against epochs coincide: hybrid and
          increasing end within 0.5 points of decaying.
Cost:     200 epochs of 50,000 examples per run, at 0.8 GFLOP each (forward). This needs a GPU: on
          two CPU cores an epoch takes 20 minutes or more.
Command:  jbatch prepare cifar10 --from cifar-10-python.tar.gz
          jbatch compare experiments/cifar10_annealing.py momentum-decaying momentum-hybrid \\
              momentum-increasing
"""

import optax

from jbatch import (
    SGD,
    TFDS,
    Adam,
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
OPTIMIZERS = {  # optimizer, first learning rate, momentum
    "sgd": (SGD(weight_decay=5e-4), 0.1, 0.0),
    "momentum": (SGD(weight_decay=5e-4), 0.1, 0.9),
    "nesterov": (SGD(weight_decay=5e-4, nesterov=True), 0.1, 0.9),
    "adam": (Adam(weight_decay=5e-4), 1e-3, 0.9),
}
MAX_BATCH_SIZES = {"decaying": 128, "hybrid": 640, "increasing": 16_000}

variants = {
    f"{name}-{schedule}": Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(learning_rate, STEPS),
            num_examples=50_000,
            num_epochs=200,
            batch_size=128,
            max_batch_size=max_batch_size,
            growth_factor=5,
            momentum=momentum,
        ),
        task=Classify(WideResNet(16, 4, GhostBatchNorm(128)), augment=Augment(pad=4, flip=True)),
        data=TFDS("cifar10"),
        optimizer=optimizer,
    )
    for name, (optimizer, learning_rate, momentum) in OPTIMIZERS.items()
    for schedule, max_batch_size in MAX_BATCH_SIZES.items()
}

comparison = Comparison(
    tuple(
        Claim(f"{name}-decaying", same=(f"{name}-hybrid", f"{name}-increasing"), title=name)
        for name in OPTIMIZERS
    )
)
