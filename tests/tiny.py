"""An experiment small enough for a test: a second on one core."""

import optax

from jbatch import (
    MLP,
    Augment,
    Claim,
    Classify,
    Comparison,
    Coupling,
    Digits,
    Experiment,
    GhostBatchNorm,
)

SCHEDULE = optax.piecewise_constant_schedule(0.05, {2: 1 / 3})

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=SCHEDULE,
            num_examples=1500,
            num_epochs=4,
            batch_size=40,
            batch_sizes=(40, 120),
            max_batch_size=max_batch_size,
            momentum=0.9,
        ),
        task=Classify(
            MLP(hidden=(32,), norm=GhostBatchNorm(ghost_batch=40)), augment=Augment(pad=1)
        ),
        data=Digits(),
        save_every=1,
    )
    for name, max_batch_size in {"decaying": 40, "growing": 120}.items()
}

comparison = Comparison((Claim("decaying", same=("growing",)),), margin=5, seeds=(0, 1))
