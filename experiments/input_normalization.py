"""How many updates each normalization of the inputs takes to a given loss.

Interview notes list the choices: none, min-max, standardization, and a non-linear one. An MLP
trains on Fashion-MNIST at batch 128 and momentum 0.9 for four epochs. Each normalization is tried
at learning rates over four orders of magnitude, because the scale of the inputs and the learning
rate depend on each other.

Claim:    raw values (0 to 255) need learning rates a thousand times smaller, and train more slowly
          at their best; normalizations with mean 0 (standardize, per image) need the fewest
          updates.
Found:    as claimed, except that the best learning rate for raw values is 100 to 300 times smaller
          (docs/studies.md).
Cost:     3 minutes on one CPU core for three seeds.
Command:  jbatch compare experiments/input_normalization.py
"""

from typing import get_args

import optax

from jbatch import MLP, TFDS, Classify, Comparison, Coupling, Experiment, Normalize

RATES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SCHEDULES = {rate: optax.constant_schedule(rate) for rate in RATES}

variants = {
    f"{normalize}, rate {rate:g}": Experiment(
        plan=Coupling(
            schedule=schedule,
            num_examples=60_000,
            num_epochs=4,
            batch_size=128,
            batch_sizes=(128,),
            momentum=0.9,
        ),
        task=Classify(MLP((128,)), normalize=normalize),
        data=TFDS("fashion_mnist"),
        log_every=0.05,
        save_every=4,
        series=normalize,
        point={"rate": rate},
    )
    for normalize in get_args(Normalize)
    for rate, schedule in SCHEDULES.items()
}

comparison = Comparison(seeds=(0, 1, 2), reach_loss=0.35)
