"""Whether the best batch size is proportional to ε/(1−m).

Smith and Le (arXiv 1710.06451, section 5) train for equally many updates and find that test
accuracy peaks at one batch size, B_opt ∝ εN/(1−m), because the noise scale decides. As there, an
MLP with one hidden layer trains on the first 1,000 images of MNIST, without weight decay. Two
learning rates and two momenta give ε/(1−m) of 0.25, 0.5 (in two ways) and 1. Each run takes 5,000
updates at a constant learning rate.

Claim:    the batch of best test accuracy doubles as ε/(1−m) does, and is the same for learning rate
          0.05 with momentum 0.9 as for 0.025 with 0.95.
Found:    as claimed: 16, 32, 32 and 64, in shallow optima (docs/studies.md).
Cost:     20 minutes on one CPU core for five seeds.
Command:  jbatch compare experiments/best_batch_size.py
"""

import optax

from jbatch import MLP, TFDS, Classify, Comparison, Coupling, Experiment

N = 1000
UPDATES = 5000
RATES = {rate: optax.constant_schedule(rate) for rate in (0.025, 0.05)}
SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 500)


def experiment(rate, momentum, size):
    """A run at one batch size."""
    epochs = UPDATES / (N // size)  # of whole batches
    return Experiment(
        plan=Coupling(
            schedule=RATES[rate],
            num_examples=N,
            num_epochs=epochs,
            batch_size=size,
            batch_sizes=(size,),
            momentum=momentum,
        ),
        task=Classify(MLP((400,))),
        data=TFDS("mnist", train=f"train[:{N}]"),
        micro_batch=500,
        log_every=epochs / 10,
        eval_every=epochs / 10,
        save_every=epochs,
        series=f"rate {rate:g} and momentum {momentum:g}",
        point={"batch size": size},
    )


variants = {
    f"rate {rate:g} and momentum {momentum:g}, batch size {size}": experiment(rate, momentum, size)
    for momentum in (0.9, 0.95)
    for rate in RATES
    for size in SIZES
}

comparison = Comparison()
