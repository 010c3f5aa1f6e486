"""Whether a large batch generalizes like a small one if it trains for as many updates.

Hoffer et al. (arXiv 1705.08741) close the gap of large batches with three remedies: a learning rate
that grows with the square root of the batch, ghost batch norm, and regime adaptation. The last
takes as many updates as the small batch, so it multiplies epochs and boundaries by B/B0. Here an
MLP with two hidden layers trains on Fashion-MNIST, at batch 128 and 4,096, for 8 epochs, with the
learning rate divided by 10 at epochs 4 and 6. Each remedy is tried alone, and all together. jbatch
logs the distance of the weights from the start; theirs grows like the logarithm of the updates.

Claim:    the large batch ends lower by more than 0.5 points, and within 0.5 points with regime
          adaptation; the weights' distance from the start grows in proportion to log(updates).
Found:    with all three remedies 0.15 points below, undecided; with regime adaptation alone 1.1
          below; ghost batches alone gain nothing; the distance is S-shaped twice (three seeds;
          docs/studies.md).
Cost:     45 minutes on one CPU core for five seeds.
Command:  jbatch compare experiments/train_longer.py
"""

import optax

from jbatch import MLP, TFDS, Claim, Classify, Comparison, Coupling, Experiment, GhostBatchNorm

SMALL, LARGE = 128, 4096
MEMORY = 100 * SMALL  # examples, of running statistics
STEPS = optax.piecewise_constant_schedule(0.1, {4: 0.1, 6: 0.1})
SETTINGS = {  # batch size, power that the rate follows, ghost batch, as many updates
    "small": (SMALL, 0.0, SMALL, False),
    "large": (LARGE, 0.0, LARGE, False),
    "large + rate": (LARGE, 0.5, LARGE, False),
    "large + ghost": (LARGE, 0.0, SMALL, False),
    "large + rate + ghost": (LARGE, 0.5, SMALL, False),
    "large + regime": (LARGE, 0.0, LARGE, True),
    "large + all three": (LARGE, 0.5, SMALL, True),
}


def experiment(size, scaling, ghost_batch, same_updates):
    """A run."""
    return Experiment(
        plan=Coupling(
            schedule=STEPS,
            num_examples=60_000,
            num_epochs=8,
            batch_size=size,
            batch_sizes=(size,),
            base_batch_size=SMALL,
            adapt_regime=same_updates,
            momentum=0.9,
            scaling=scaling,
        ),
        task=Classify(MLP((256, 256), GhostBatchNorm.remembering(MEMORY, ghost_batch))),
        data=TFDS("fashion_mnist"),
        micro_batch=4096,
        log_every=0.1,
        measure_distance=True,
    )


variants = {name: experiment(*settings) for name, settings in SETTINGS.items()}

comparison = Comparison(
    (
        Claim(
            "small",
            same=("large + regime", "large + all three"),
            different=("large", "large + rate", "large + ghost", "large + rate + ghost"),
        ),
    )
)
