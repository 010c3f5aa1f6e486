"""ImageNet in under 2,500 parameter updates.

Smith et al. (arXiv 1711.00489), section 5.3, figures 5 and 6: Inception-ResNet-V2 on ImageNet, 90
epochs, rate 3, the noise divided by 10 at epochs 30, 60 and 80. `decaying` and `increasing` keep
momentum 0.9; the other three keep the batch at or under 65,536, and raise momentum and first batch
together.

Claim:    14,040, 5,580, 5,820, 3,480 and 2,310 updates; the paper's top-1 accuracies are 78.7% and
          77.8% (two runs) decaying, 78.1% and 76.8% increasing.
Cost:     the plan only, for now: no network and no data set are given.
Command:  jbatch plan experiments/imagenet_inception.py momentum-975
"""

import optax

from jbatch.experiment import Coupling, Experiment

SCHEDULE = optax.piecewise_constant_schedule(3.0, {30: 0.1, 60: 0.1, 80: 0.1})
SETTINGS = {  # momentum, first batch size, largest batch size
    "decaying": (0.9, 8192, 8192),
    "increasing": (0.9, 8192, 81_920),
    "momentum-900": (0.9, 8192, 65_536),
    "momentum-950": (0.95, 16_384, 65_536),
    "momentum-975": (0.975, 32_768, 65_536),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=SCHEDULE,
            num_examples=1_281_167,
            num_epochs=90,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            growth_factor=10,
            momentum=momentum,
        ),
    )
    for name, (momentum, batch_size, max_batch_size) in SETTINGS.items()
}
