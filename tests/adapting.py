"""A run that decides on its batch size, small enough for a test."""

import optax

from jbatch import MLP, Adaptive, Classify, Coupling, Digits, Experiment, NoiseScale

variants = {
    "noise": Experiment(
        plan=Coupling(
            schedule=optax.cosine_decay_schedule(0.05, 2),
            num_examples=1500,
            num_epochs=2,
            batch_size=20,
            batch_sizes=(20, 40),
            momentum=0.9,
        ),
        task=Classify(MLP((16,))),
        data=Digits(),
        micro_batch=10,
        save_every=1,
        measure_noise=True,
        adaptive=Adaptive(NoiseScale(target=1.5), every=25),
    )
}
