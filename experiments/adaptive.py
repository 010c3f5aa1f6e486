"""Batches that grow by what the run measures, against fixed plans, on Fashion-MNIST.

All variants see the same data, 10 epochs of an MLP, under the same schedule and with the same noise
scale: wherever the batch grows, the rate grows with it. `decaying` keeps the batch. `fixed` grows
it where the schedule decays. The other three decide every 100 updates, among the same sizes: by the
measured gradient noise scale, by the norm test of Byrd et al., and when the training loss stops
falling.

Claim:    after the same examples, all agree with decaying in test accuracy to within 0.5 points
          (95% interval of the differences paired by seed). This is what the theory of noise scales
          says while batches are small against N; it has not been measured for these rules.
Found:    so it is; the norm test, which grows first, ends 0.31 points lower, and the others within
          0.03 (docs/studies_noise.md).
Cost:     three and a quarter minutes of CPU time for all five over five seeds.
Command:  jbatch prepare fashion_mnist --from FOLDER_OF_THE_IDX_FILES
          jbatch compare experiments/adaptive.py
"""

import optax

from jbatch import (
    MLP,
    TFDS,
    Adaptive,
    Claim,
    Classify,
    Comparison,
    Coupling,
    Experiment,
    LossStall,
    NoiseScale,
    NormTest,
)

SCHEDULE = optax.piecewise_constant_schedule(0.04, dict.fromkeys((3, 6, 8), 1 / 5))

SETTINGS = {  # largest batch size, rule, examples of a part of an update
    "decaying": (128, None, None),
    "fixed": (1024, None, None),
    "noise_scale": (1024, NoiseScale(target=1.0), 64),
    "norm_test": (1024, NormTest(theta=0.5), 64),
    "loss_stall": (1024, LossStall(patience=3, least=0.01), None),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=SCHEDULE,
            num_examples=60_000,
            num_epochs=10,
            batch_size=128,
            batch_sizes=(128, 256, 512, 1024),
            max_batch_size=largest,
            momentum=0.9,
        ),
        task=Classify(MLP((256,))),
        data=TFDS("fashion_mnist"),
        micro_batch=part,  # an update has at least two parts, from which its noise is measured
        save_every=10,
        measure_noise=part is not None,
        adaptive=rule and Adaptive(rule, every=100),
    )
    for name, (largest, rule, part) in SETTINGS.items()
}

comparison = Comparison(
    (Claim("decaying", same=("fixed", "noise_scale", "norm_test", "loss_stall")),),
    seeds=(0, 1, 2, 3, 4),
)
