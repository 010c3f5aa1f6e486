"""Effect of batch size on speed and accuracy on CIFAR-10, with and without a scaled learning rate.

This asks the questions of batch_size_sweep.py for a small convolutional network with group norm,
which does not see the batch. It trains at batches from 4 to all 50,000, for 5 epochs of SGD with
momentum 0.9. The constant learning rate is right for batch 64. It is kept, multiplied by √(B/64),
or multiplied by B/64. A fourth setting keeps it and takes as many updates as batch 64 (80 epochs at
1,024).

Claim:    at one learning rate, training and test accuracy both fall with the batch from 64 on; with
          the square root rule they fall later, with the linear rule latest, until it diverges.
Found:    as claimed, except that the linear rule fails first, at 1,024; for as many updates, the
          larger batches end higher (two seeds; docs/studies.md).
Cost:     an hour on one CPU core for two seeds.
Command:  jbatch prepare cifar10 --from cifar-10-python.tar.gz
          jbatch compare experiments/batch_size_sweep_cifar10.py
"""

import optax

from jbatch import TFDS, Classify, Comparison, Coupling, Experiment, GroupNorm, SmallCNN

N = 50_000
RATE = optax.constant_schedule(0.01)
SIZES = (4, 16, 64, 256, 1024, 4096, 16_384, N)
SETTINGS = {  # power of the batch that the rate follows, equal updates instead of epochs, sizes
    "one rate": (0.0, False, SIZES),
    "square root": (0.5, False, SIZES),
    "linear": (1.0, False, SIZES),
    "one rate and same updates": (0.0, True, SIZES[1:5]),
}

variants = {
    f"{name}, batch size {size}": Experiment(
        plan=Coupling(
            schedule=RATE,
            num_examples=N,
            num_epochs=5,
            batch_size=size,
            batch_sizes=(size,),
            base_batch_size=64,
            adapt_regime=same_updates,
            momentum=0.9,
            scaling=scaling,
        ),
        task=Classify(SmallCNN((16, 32, 64), GroupNorm(8))),
        data=TFDS("cifar10"),
        micro_batch=500,
        save_every=5,
        series=name,
        point={"batch size": size},
    )
    for name, (scaling, same_updates, sizes) in SETTINGS.items()
    for size in sizes
}

comparison = Comparison(seeds=(0, 1), reach=58.0)
