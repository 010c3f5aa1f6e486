"""The ImageNet experiments in miniature: the true network, the true sizes, and real photographs.

Two variants take `momentum-975` of Smith et al. (arXiv 1711.00489), section 5.3, to generated
images. `true-network` trains Inception-ResNet-V2 at 75×75, the smallest images it takes. It divides
the number of examples, the learning rate and every batch size by 512 (64, then 128), uses ghost
batches of 8, and takes two epochs for each interval of the schedule. jbatch accumulates the last
batches from micro-batches of 8 per device. `true-sizes` runs the whole plan on 1,281,167 images of
8×8, with an MLP, batches up to 65,536 and ghost batches of 64. These two show that the parts
support these sizes. They do not show accuracy.

`photographs` is section 5.4's `growing-pod` on 4,100 of Imagenette's photographs, which jbatch
reads, decodes and streams like ImageNet's. It trains a residual network of 14 layers at 64×64, with
every batch size divided by 128 and the epochs of the schedule divided by 5.

Claim:    every phase is passed, in 192, 2,310 and 768 updates, and the loss falls.
Cost:     on two CPU cores with 8 simulated devices, half an hour and 12 GB for `true-network`,
          three minutes for `true-sizes`, a quarter of an hour for `photographs`.
Command:  XLA_FLAGS=--xla_force_host_platform_device_count=8 \\
              jbatch train experiments/imagenet_miniature.py true-network
          For `photographs`, first run `jbatch prepare imagenette224 --from PATH` on a folder that
          holds train/CLASS/* and val/CLASS/*.
"""

import optax

from jbatch import (
    MLP,
    SGD,
    TFDS,
    Augment,
    CifarResNet,
    Classify,
    Coupling,
    Experiment,
    Generated,
    GhostBatchNorm,
    InceptionResNetV2,
    Photographs,
)

variants = {
    "true-network": Experiment(
        plan=Coupling(
            # The rate follows the batch by the linear rule: 3 for 32,768.
            schedule=optax.piecewise_constant_schedule(3 / 512, {2: 0.1, 4: 0.1, 6: 0.1}),
            num_examples=2502,
            num_epochs=8,
            batch_size=64,
            max_batch_size=128,
            growth_factor=10,
            momentum=0.975,
        ),
        task=Classify(
            InceptionResNetV2(GhostBatchNorm(8, decay=0.99, eps=1e-3)), label_smoothing=0.1
        ),
        data=Generated(2502, 250, (75, 75, 3), 10),
        optimizer=SGD(weight_decay=4e-5),
        micro_batch=8,
    ),
    "true-sizes": Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(3.0, {30: 0.1, 60: 0.1, 80: 0.1}),
            num_examples=1_281_167,
            num_epochs=90,
            batch_size=32_768,
            max_batch_size=65_536,
            growth_factor=10,
            momentum=0.975,
        ),
        task=Classify(MLP((64,), GhostBatchNorm(64))),
        data=Generated(1_281_167, 50_000, (8, 8, 3), 10),
        optimizer=SGD(),
        micro_batch=1024,
        eval_every=10,
    ),
    "photographs": Experiment(
        plan=Coupling(
            schedule=optax.join_schedules(
                [
                    optax.linear_schedule(0.01, 0.1, 1),
                    # Epochs count from the end of the warm-up here.
                    optax.piecewise_constant_schedule(0.1, {5: 0.1, 11: 0.1, 15: 0.1}),
                ],
                [1],
            ),
            num_examples=4100,
            num_epochs=18,
            batch_size=64,
            max_batch_size=128,
            growth_factor=10,
            momentum=0.9,
        ),
        task=Classify(
            CifarResNet(2, (16, 32, 64), GhostBatchNorm(32, decay=0.9)), augment=Augment(flip=True)
        ),
        data=Photographs(TFDS("imagenette224", test="validation"), image_size=64),
        optimizer=SGD(weight_decay=1e-4),
    ),
}
