"""What must follow the batch under Adam: a growth by 16, and three ways to go on.

A small version of the test in "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms"
(Malladi et al., arXiv 2205.10287): a run that is mostly noise should not notice a larger batch.
"""

import optax

from jbatch import MLP, Adam, Augment, Classify, Coupling, Digits, Experiment, Hold

HOLDS = {
    "small": (8, None),
    "nothing": (128, None),
    "malladi": (128, "malladi"),
    "half-life": (128, Hold(momentum="half_life", b2="half_life")),
}
variants = {
    name: Experiment(
        plan=Coupling(
            optax.constant_schedule(2e-3),
            num_examples=1500,
            num_epochs=40,
            ramp={0: 8, 20: size} if size > 8 else None,
            batch_size=8,
            momentum=0.98,
            hold=hold,
            scaling=0.5,
        ),
        task=Classify(MLP((64,)), augment=Augment(pad=1)),
        data=Digits(),
        optimizer=Adam(b2=0.995),
        log_every=1,
        eval_every=1,
        save_every=40,
    )
    for name, (size, hold) in HOLDS.items()
}
