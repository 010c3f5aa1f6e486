"""Does a larger batch cost more early in training than late?

Where a plan keeps ε/B, growth costs the factor 1 + B/B_noise along the run in a bound of the loss
(docs/theory.md), and the gradient noise scale B_noise is small early and large late. So a larger
batch should cost early and be free late. An MLP trains on Fashion-MNIST under a cosine. All runs
see the same data at the same ε/B, and differ in when their batch is 512 in place of 64. `early` is
large in the first half, and `late` in the second, so these two also take as many updates.

Claim:    late agrees with never in test accuracy to within 0.3 points (95% interval of the
          differences paired by seed), and ends with the training loss of never to within 10%;
          always and early end with a higher training loss than late.
Found:    so it is: late ends 0.04 points above never. Not claimed beforehand: early and always end
          0.8 points below it (docs/studies_noise.md).
Cost:     two and a quarter minutes of one CPU core for all four over five seeds.
Command:  jbatch prepare fashion_mnist --from FOLDER_OF_THE_IDX_FILES
          jbatch compare experiments/early_or_late.py
"""

import optax

from jbatch import MLP, TFDS, Claim, Classify, Comparison, Coupling, Experiment

EPOCHS, SMALL, LARGE = 10, 64, 512

RAMPS = {  # epoch → batch size
    "never": {0: SMALL},
    "late": {0: SMALL, EPOCHS / 2: LARGE},
    "early": {0: LARGE, EPOCHS / 2: SMALL},
    "always": {0: LARGE},
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.cosine_decay_schedule(0.02, EPOCHS),
            num_examples=60_000,
            num_epochs=EPOCHS,
            ramp=ramp,
            allow_shrink=True,
            base_batch_size=SMALL,
            momentum=0.9,
        ),
        task=Classify(MLP((256,))),
        data=TFDS("fashion_mnist"),
        log_every=0.25,
        save_every=EPOCHS,
    )
    for name, ramp in RAMPS.items()
}

comparison = Comparison((Claim("never", same=("late",)),), seeds=(0, 1, 2, 3, 4), margin=0.3)
