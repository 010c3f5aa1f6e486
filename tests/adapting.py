"""Adaptive runs, small enough for a test."""

import optax

from jbatch import (
    MLP,
    Adaptive,
    Classify,
    Coupling,
    Digits,
    Experiment,
    LossStall,
    NoiseScale,
    NormTest,
)

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.cosine_decay_schedule(0.05, 4),
            num_epochs=4,
            batch_size=20,
            batch_sizes=(20, 40, 60, 120),
            momentum=0.9,
        ),
        task=Classify(MLP((16,))),
        data=Digits(),
        micro_batch=5,
        save_every=1,
        measure_noise=True,
        adaptive=Adaptive(rule, every=25),
    )
    for name, rule in {
        "noise": NoiseScale(target=1.5),
        "norm": NormTest(theta=0.7),
        "loss": LossStall(patience=1, least=0.2),
    }.items()
}
