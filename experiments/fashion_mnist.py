"""The paper's three schedules on Fashion-MNIST, small enough for two CPU cores.

A small version of Smith et al. (arXiv 1711.00489), section 5.1: a convolutional network of 34
thousand parameters with ghost batches of 128, and shifts of up to two pixels, for 20 epochs. The
noise scale is divided by 5 at epochs 6, 12 and 16. Each of three controls breaks the coupling and
should fail. `constant` keeps learning rate and batch. `large` starts with the last batch at the
small batch's learning rate. `both` decays the learning rate and grows the batch, so that the noise
scale falls twice as fast.

Claim:    after the same number of epochs, decaying, hybrid and increasing agree in test accuracy to
          within 0.5 points (95% interval of the differences paired by seed), in 9,360, 4,110 and
          3,482 updates; the controls end outside.
Cost:     three minutes per run on one CPU core; 53 minutes for all six over five seeds, as two
          processes of one core each (`taskset -c 0 … --seeds 0 2 4`), which is faster than one
          process on both cores.
Command:  jbatch prepare fashion_mnist --from FOLDER_OF_THE_IDX_FILES
          jbatch compare experiments/fashion_mnist.py
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
    SmallCNN,
)


def steps(factor):
    """The rate 0.1, times `factor` at each step."""
    return optax.piecewise_constant_schedule(0.1, dict.fromkeys((6, 12, 16), factor))


SETTINGS = {  # schedule, first batch size, largest batch size, share of the decay that is growth
    "decaying": (steps(1 / 5), 128, 128, 1.0),
    "hybrid": (steps(1 / 5), 128, 640, 1.0),
    "increasing": (steps(1 / 5), 128, 5120, 1.0),
    "constant": (optax.constant_schedule(0.1), 128, 128, 1.0),
    "large": (steps(1 / 5), 5120, 5120, 1.0),
    "both": (steps(1 / 25), 128, 5120, 0.5),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=schedule,
            num_examples=60_000,
            num_epochs=20,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            growth_factor=5,
            momentum=0.9,
            growth=growth,
        ),
        task=Classify(SmallCNN((16, 32, 64), GhostBatchNorm(128)), augment=Augment(pad=2)),
        data=TFDS("fashion_mnist"),
        optimizer=SGD(weight_decay=5e-4),
        micro_batch=128,
        save_every=20,
    )
    for name, (schedule, batch_size, max_batch_size, growth) in SETTINGS.items()
}

comparison = Comparison(
    (Claim("decaying", same=("hybrid", "increasing"), different=("constant", "large", "both")),)
)
