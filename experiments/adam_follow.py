"""What must follow the batch under Adam: one growth by 16, and three ways to go on.

A small version of a test of the square-root rule (Malladi et al., arXiv 2205.10287): late in
training gradients are mostly noise, and then a run should not notice a larger batch. An MLP on
scikit-learn's handwritten digits (1,500 to train on, 297 to test on), shifted at random by up to
one pixel, at a constant rate, with batches of 8. At epoch 20 the batch grows to 128 and the rate by
√16, and the run goes on for 3 epochs: with β1, β2 and ε as they are ("nothing"), by Malladi's rule,
or with both half-lives held in examples.

Claim:    the two rules end with the same test loss, to within 0.02 (95% interval of the differences
          paired by seed). With nothing it ends higher by more: Adam then remembers the gradients of
          1/(1−β1) = 100 updates of 128, which are 8.5 epochs. "small" stays at 8, for comparison.
          (Rate, decays, epochs, baseline and margin were chosen on seeds 0 to 6.)
Cost:     24 runs of about 4,000 updates; two minutes on two CPU cores.
Command:  jbatch compare experiments/adam_follow.py
"""

import optax

from jbatch import (
    MLP,
    Adam,
    Augment,
    Claim,
    Classify,
    Comparison,
    Coupling,
    Digits,
    Experiment,
    Hold,
)

SETTINGS = {  # batch sizes by epoch, what follows
    "small": ({0: 8}, None),
    "nothing": ({0: 8, 20: 128}, None),
    "malladi": ({0: 8, 20: 128}, "malladi"),
    "half-life": ({0: 8, 20: 128}, Hold(momentum="half_life", b2="half_life")),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.constant_schedule(2e-3),
            num_examples=1500,
            num_epochs=23,
            ramp=ramp,
            momentum=0.99,
            hold=hold,
            scaling=0.5,
        ),
        task=Classify(MLP(hidden=(64,)), augment=Augment(pad=1)),
        data=Digits(),
        optimizer=Adam(b2=0.999),
        save_every=23,
    )
    for name, (ramp, hold) in SETTINGS.items()
}

comparison = Comparison(
    (Claim("malladi", same=("half-life",), different=("nothing",)),),
    metric="loss",
    margin=0.02,
    seeds=(10, 11, 12, 13, 14, 15),
)
