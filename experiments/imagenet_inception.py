"""ImageNet in under 2,500 parameter updates.

Smith et al. (arXiv 1711.00489), section 5.3, figures 5 and 6: Inception-ResNet-V2 on ImageNet for
90 epochs, at learning rate 3, with the noise scale divided by 10 at epochs 30, 60 and 80.
`decaying` and `increasing` keep momentum 0.9. The other three keep the batch at or under 65,536,
and raise momentum and first batch together.

Claim:    14,040, 5,580, 5,820, 3,480 and 2,310 updates; the paper's top-1 accuracies are 78.7% and
          77.8% (two runs) for decaying, 78.1% and 76.8% for increasing.
Cost:     90 epochs of 1.28 million examples at 26 GFLOP each (forward, 299×299). This needs a TPU
          pod. It was not run in full here; experiments/imagenet_miniature.py was run.
Command:  jbatch prepare imagenet2012 --from ILSVRC2012, once (docs/data.md)
          jbatch train experiments/imagenet_inception.py momentum-975

The paper gives no weight decay and no label smoothing. The values here are those of the network's
authors.
"""

import optax

from jbatch import (
    SGD,
    TFDS,
    Augment,
    Classify,
    Coupling,
    Experiment,
    GhostBatchNorm,
    InceptionResNetV2,
    Photographs,
)

SCHEDULE = optax.piecewise_constant_schedule(3.0, {30: 0.1, 60: 0.1, 80: 0.1})
SETTINGS = {  # momentum, first batch size, largest batch size, ghost batch
    "decaying": (0.9, 8192, 8192, 32),
    "increasing": (0.9, 8192, 81_920, 32),
    "momentum-900": (0.9, 8192, 65_536, 64),
    "momentum-950": (0.95, 16_384, 65_536, 64),
    "momentum-975": (0.975, 32_768, 65_536, 64),
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
        task=Classify(
            InceptionResNetV2(GhostBatchNorm(ghost_batch, decay=0.9997, eps=1e-3)),
            augment=Augment(flip=True),
            label_smoothing=0.1,
            dtype="bfloat16",
        ),
        data=Photographs(TFDS("imagenet2012", test="validation"), image_size=299),
        optimizer=SGD(weight_decay=4e-5),
    )
    for name, (momentum, batch_size, max_batch_size, ghost_batch) in SETTINGS.items()
}
