"""94% on CIFAR-10 by the fastest published recipe, with growing batches.

The recipe of Jordan (arXiv 2404.00498, "airbench94": 94.01% over 1,000 runs, 0.36 PFLOP, 9.9
epochs) as values of jbatch: its network and whitening, alternating flips and reflected shifts,
label smoothing 0.2, Nesterov's momentum, biases of norms at 64 times the rate, lookahead, and six
views of a test image. Its rate of 11.5 for a loss summed over 1,024 examples, divided by
1 + 1/(1 − m), is 1.5 for a mean loss; its weight decay of 0.0153 in the same unit is 0.0153/11.5
beside a mean gradient. Lookahead and norms remember as many examples at every batch size.
`published` has batch norm over whole batches of 1,024, as published; all others have ghost batches
of 256. What differs from the published code: it throws the updates since the last lookahead away
at the end of each epoch, averages running statistics with the weights, and computes in float16.

The rate rises from 0.3 to 1.5 over 23% of the run and falls in a line to 7% of that. `increasing`
grows the batch in its place, up to N/10, `hybrid` up to 2,048. `increased-momentum` begins with
momentum 0.9 and batch 1,536 at the same noise scale, and grows up to N/10. The controls break the
coupling: `both` decays the rate and grows the batch, so that the noise scale falls with the
square; `large` begins at N/10 with the small batch's rate.

Claim:    `published` and `decaying` reach 94.0 ± 0.2% with the views, in 476 updates; `hybrid`,
          `increasing` and `increased-momentum` end within 0.25 points of `decaying` (95% interval
          of the differences paired by seed), in 357, 327 and 219; the controls end outside.
          (At a fixed noise scale the recipe's own fall of the rate allows at most 36% fewer
          updates, since its rise and its peak need batches of 1,024. Momentum allows more.)
Found:    Three seeds: `decaying` 93.99%; `hybrid` 94.05%, 0.06 points above it (−0.10 to +0.22) as
          claimed, so 94% takes 357 updates; `increasing` 0.11 below (−0.45 to +0.22) and
          `increased-momentum` 0.32 below (−0.68 to +0.04), undecided. `published` and the controls
          were not run. See docs/results.md.
Cost:     0.36 PFLOP per run without evaluations, which are four of 60,000 images.
Command:  jbatch prepare cifar10 --from cifar-10-python.tar.gz
          jbatch compare experiments/cifar10_94.py decaying hybrid increasing increased-momentum
"""

import math

import numpy as np

from jbatch import (
    SGD,
    TFDS,
    Airbench,
    Augment,
    Claim,
    Classify,
    Comparison,
    Coupling,
    Experiment,
    GhostBatchNorm,
    Group,
    Groups,
    Lookahead,
    Views,
)

EPOCHS, N, BATCH = 9.9, 50_000, 1024
RATE = 11.5 / (1 + 1 / (1 - 0.85))
DECAY = 0.0153 / 11.5
WARM, FROZEN = 0.23, 3 / EPOCHS  # parts of the run


def triangle(epoch):
    """The rate of the recipe."""
    return RATE * float(np.interp(epoch, (0, WARM * EPOCHS, EPOCHS), (0.2, 1, 0.07)))


def squared(epoch):
    """The same, whose fall is squared: half of it is the rate's, half the batch's."""
    rate = triangle(epoch)
    return rate if epoch < WARM * EPOCHS else rate**2 / RATE


def norm_biases(path, leaf):
    """The parameters whose rate is 64 times the others'."""
    return ".norm" in path


def everything(path, leaf):
    """All parameters decay, biases too."""
    return True


def sgd(factor=1):
    """Nesterov's momentum; the decay is divided by the rate's factor, so that it does not grow."""
    return SGD(nesterov=True, weight_decay=DECAY / factor, decay_on=everything)


OPTIMIZER = Lookahead(
    Groups(
        (
            Group(norm_biases, sgd(64), rate=64),
            Group(("whiten.bias",), sgd(), until=FROZEN),
            Group(optimizer=sgd()),
        )
    ),
    every=5 * BATCH,
    horizon=-BATCH / math.log(0.95),
    power=3,
    start=FROZEN,
)


def task(ghost_batch):
    """The network, whose norms' running statistics decay by 0.6 in 1,024 examples."""
    decay = 0.6 ** (ghost_batch / BATCH)
    return Classify(
        Airbench(norm=GhostBatchNorm(ghost_batch, decay, eps=1e-12, scale=False)),
        augment=Augment(pad=2, edges="reflected", alternating_flip=True),
        label_smoothing=0.2,
        views=Views(flip=True, shift=1),
    )


LARGEST = N // 10 // 256 * 256  # 4,864
SETTINGS = {  # schedule, first and largest batch, momentum, share of the decay that is growth
    "published": (triangle, BATCH, BATCH, 0.85, 1.0),
    "decaying": (triangle, BATCH, BATCH, 0.85, 1.0),
    "hybrid": (triangle, BATCH, 2 * BATCH, 0.85, 1.0),
    "increasing": (triangle, BATCH, LARGEST, 0.85, 1.0),
    "increased-momentum": (triangle, 3 * BATCH // 2, LARGEST, 0.9, 1.0),
    "both": (squared, BATCH, LARGEST, 0.85, 0.5),
    "large": (triangle, LARGEST, LARGEST, 0.85, 1.0),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=schedule,
            num_examples=N,
            num_epochs=EPOCHS,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            batch_multiple=256,
            momentum=momentum,
            growth=growth,
        ),
        task=task(BATCH if name == "published" else 256),
        data=TFDS("cifar10"),
        optimizer=OPTIMIZER,
        log_every=0.5,
        eval_every=3.3,
        save_every=1,
    )
    for name, (schedule, batch_size, max_batch_size, momentum, growth) in SETTINGS.items()
}

comparison = Comparison(
    (
        Claim(
            "decaying",
            same=("hybrid", "increasing", "increased-momentum"),
            different=("both", "large"),
        ),
    ),
    margin=0.25,
    seeds=(0, 1, 2),
)
