"""ImageNet in under 30 minutes, by doubling the machine when the batch doubles.

Smith et al. (arXiv 1711.00489), section 5.4: ResNet-50 on ImageNet for 90 epochs, at learning rate
3.2 for batch 8,192. The noise scale is divided by 10 at epochs 30, 60 and 80. The warm-up over five
epochs is that of Goyal et al. (arXiv 1706.02677). `growing-pod` uses half a TPU pod up to epoch 30,
and then the whole pod at twice the batch. `full-pod` doubles batch and learning rate from the
start.

Claim:    14,040, 9,360 and 7,020 updates; the paper reaches 76.1% on the half pod in under 45
          minutes, and 76.1% with the growing pod in under 30.
Cost:     90 epochs of 1.28 million examples at 8.2 GFLOP each (forward, 224×224). It was not run in
          full here; experiments/imagenet_miniature.py was run.
Command:  jbatch prepare imagenet2012 --from ILSVRC2012, once (docs/data.md)
          jbatch train experiments/imagenet_resnet50.py growing-pod
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
    Photographs,
    ResNet50,
)

WARM_UP = 5  # epochs, from rate 0.1
SETTINGS = {  # learning rate, first batch size, largest batch size
    "half-pod": (3.2, 8192, 8192),
    "growing-pod": (3.2, 8192, 16_384),
    "full-pod": (6.4, 16_384, 16_384),
}

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.join_schedules(
                [
                    optax.linear_schedule(0.1, learning_rate, WARM_UP),
                    # Epochs count from the end of the warm-up here.
                    optax.piecewise_constant_schedule(
                        learning_rate, {epoch - WARM_UP: 0.1 for epoch in (30, 60, 80)}
                    ),
                ],
                [WARM_UP],
            ),
            num_examples=1_281_167,
            num_epochs=90,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            growth_factor=10,
            momentum=0.9,
        ),
        task=Classify(
            ResNet50(GhostBatchNorm(32, decay=0.9)), augment=Augment(flip=True), dtype="bfloat16"
        ),
        data=Photographs(TFDS("imagenet2012", test="validation")),
        optimizer=SGD(weight_decay=1e-4),
    )
    for name, (learning_rate, batch_size, max_batch_size) in SETTINGS.items()
}
