"""How many updates each normalization of the inputs takes to a given loss.

Interview notes name the choices: none, min-max, standardization, a non-linear one. A perceptron on
Fashion-MNIST, batch 128, momentum 0.9, four epochs; each normalization over rates of four orders of
magnitude, since the scale of the inputs and the rate go together.

Claim:    raw values (0 to 255) train at rates a thousand times smaller, and slower at their best;
          what brings the mean to 0 (standardize, per image) needs the fewest updates.
Found:    as claimed, but that the best rate for raw values is 100 to 300 times smaller
          (docs/studies.md).
Cost:     3 minutes on one CPU core for three seeds.
Command:  jbatch compare experiments/input_normalization.py
"""

from typing import get_args

import optax

from jbatch import MLP, TFDS, Comparison, Coupling, Experiment, Normalize

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
        model=MLP((128,)),
        data=TFDS("fashion_mnist"),
        normalize=normalize,
        log_every=0.05,
        save_every=4,
    )
    for normalize in get_args(Normalize)
    for rate, schedule in SCHEDULES.items()
}

comparison = Comparison(seeds=(0, 1, 2), reach_loss=0.35)
