"""Whether large batches end in sharper minima that generalize worse.

Keskar et al. (arXiv 1609.04836): a batch of 10% of the training set ends in minima one to two
orders of magnitude sharper than a batch of 256, with test accuracy 1 to 5 points lower, both with
Adam at its usual learning rate. F1, their MLP of five layers with batch norm, trains on
Fashion-MNIST. C1 and C2, their small and their deep convolutional network, train on CIFAR-10. All
train for 20 epochs.

Claim:    the large batch ends lower by more than 0.5 points, and at least 10 times as sharp by
          their metric at ε = 0.001 in the full space.
Found:    F1: 9 to 10 times as sharp, half a point lower, undecided (five seeds); C1: 1.4 times as
          sharp, 2.6 points lower, but not trained to the end; C2: not run (docs/studies.md).
Cost:     F1: 17 minutes on one CPU core for five seeds, and 2 minutes for each pair of minima; C1:
          35 minutes for each seed, and 16 for its pair of minima. C2 needs a GPU.
Command:  jbatch compare experiments/sharp_minima.py f1-small f1-large
          cd runs/sharp_minima
          jbatch sharpness f1-small/seed-0 f1-large/seed-0 --examples 10000 --figure line.png
"""

import optax

from jbatch import (
    MLP,
    TFDS,
    Adam,
    Claim,
    Classify,
    Comparison,
    Coupling,
    Experiment,
    GhostBatchNorm,
    KeskarC1,
    KeskarC2,
)

SMALL, EPOCHS = 256, 20
MEMORY = 100 * SMALL  # examples, of running statistics
RATE = optax.constant_schedule(1e-3)


def experiment(model, data, num_examples, batch_size):
    """A run at one batch size, over which batch norm takes its statistics."""
    return Experiment(
        plan=Coupling(
            schedule=RATE,
            num_examples=num_examples,
            num_epochs=EPOCHS,
            batch_size=batch_size,
            batch_sizes=(batch_size,),
            momentum=0.9,
        ),
        task=Classify(model(GhostBatchNorm.remembering(MEMORY, batch_size))),
        data=TFDS(data),
        optimizer=Adam(),
        micro_batch=num_examples // 10,
        save_every=EPOCHS,
    )


def f1(norm):
    """784 - 5 × 512 - 10."""
    return MLP((512,) * 5, norm)


variants = {
    f"{name}-{size}": experiment(model, data, count, batch)
    for name, model, data, count in (
        ("f1", f1, "fashion_mnist", 60_000),
        ("c1", KeskarC1, "cifar10", 50_000),
        ("c2", KeskarC2, "cifar10", 50_000),
    )
    for size, batch in (("small", SMALL), ("large", count // 10))
}

comparison = Comparison(
    tuple(Claim(f"{name}-small", different=(f"{name}-large",)) for name in ("f1", "c1", "c2"))
)
