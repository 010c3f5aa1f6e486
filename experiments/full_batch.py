"""Full-batch training by gradient descent and by Rprop, a batch of one, and mini-batches between.

Riedmiller and Braun's Rprop (1993) steps by the signs of the gradient, and only a full batch gives
these without noise. A batch of one takes an update for each example. An MLP trains on the first
10,000 images of MNIST. On one device, jbatch accumulates the full batch over four passes.

Claim:    to a test accuracy of 93%, the full batch takes the fewest updates with Rprop, fewer than
          with gradient descent; mini-batches take the least time, a batch of one the fewest epochs.
Found:    as claimed, except that the fewest epochs are undecided between 1 and 32; Rprop overfits
          if it trains longer (docs/studies.md).
Cost:     6 minutes on one CPU core for three seeds.
Command:  jbatch compare experiments/full_batch.py
"""

import optax

from jbatch import MLP, SGD, TFDS, Classify, Comparison, Coupling, Experiment, Rprop

N = 10_000
SETTINGS = {  # batch size, epochs, rate, momentum, optimizer
    "batch of one": (1, 10, 0.01, 0.0, SGD()),
    "32 a batch": (32, 20, 0.1, 0.0, SGD()),
    "256 a batch": (256, 40, 0.3, 0.0, SGD()),
    "full batch": (N, 1000, 0.3, 0.0, SGD()),
    "full batch with momentum": (N, 1000, 0.1, 0.9, SGD()),
    "full batch by Rprop": (N, 300, 1.0, 0.0, Rprop()),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.constant_schedule(rate),
            num_examples=N,
            num_epochs=epochs,
            batch_size=size,
            batch_sizes=(size,),
            momentum=momentum,
        ),
        task=Classify(MLP((128,))),
        data=TFDS("mnist", train=f"train[:{N}]"),
        optimizer=optimizer,
        micro_batch=2500,
        log_every=max(size / N, 0.05),
        eval_every=max(size / N, 0.05),
        save_every=epochs,
    )
    for name, (size, epochs, rate, momentum, optimizer) in SETTINGS.items()
}

comparison = Comparison(seeds=(0, 1, 2), reach=93.0)
