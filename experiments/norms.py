"""Which norms need a large batch on each device.

Wu and He (arXiv 1803.08494): batch norm's error rises as the batch of a device shrinks to 2, and
group norm's does not. A small convolutional network trains on the first 12,000 images of
Fashion-MNIST for 5 epochs, with each norm of jbatch, at batches of 2 to 512 on one device. The
learning rate follows the batch linearly, from 0.01 at 32, as theirs does.

Claim:    batch norm is worst at a batch of 2 and best from 32 on; group, layer, weight and local
          response norm do not depend on the batch, except through the number of updates; ghost
          batch norm over 16 follows batch norm up to 16, and stays at that level.
Found:    batch norm is no worse at 2, in a network of three layers; at 512, where the learning rate
          is highest, only norms over the batch hold (docs/studies.md).
Cost:     13 minutes on one CPU core for three seeds.
Command:  jbatch compare experiments/norms.py
"""

import optax

from jbatch import (
    TFDS,
    Classify,
    Comparison,
    Coupling,
    Experiment,
    GhostBatchNorm,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    SmallCNN,
    WeightNorm,
)

N = 12_000
RATE = optax.constant_schedule(0.01)
SIZES = (2, 8, 32, 128, 512)


MEMORY = 3200  # examples, of running statistics


NORMS = {  # for a batch size
    "batch norm": lambda size: GhostBatchNorm.remembering(MEMORY, size),  # over the whole batch
    "ghost batch norm of 16": lambda size: GhostBatchNorm.remembering(MEMORY, min(size, 16)),
    "group norm": lambda size: GroupNorm(4),
    "layer norm": lambda size: LayerNorm(),
    "weight norm": lambda size: WeightNorm(),
    "local response norm": lambda size: LocalResponseNorm(),
    "no norm": lambda size: NoNorm(),
}

variants = {
    f"{name}, batch size {size}": Experiment(
        plan=Coupling(
            schedule=RATE,
            num_examples=N,
            num_epochs=5,
            batch_size=size,
            batch_sizes=(size,),
            base_batch_size=32,
            momentum=0.9,
        ),
        task=Classify(SmallCNN((16, 32, 64), norm(size))),
        data=TFDS("fashion_mnist", train=f"train[:{N}]"),
        micro_batch=512,
        save_every=5,
    )
    for name, norm in NORMS.items()
    for size in SIZES
}

comparison = Comparison(seeds=(0, 1, 2))
