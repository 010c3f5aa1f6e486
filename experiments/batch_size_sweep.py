"""Effect of batch size on speed and accuracy, with a constant and with a scaled learning rate.

Lee's lecture on batches says that an epoch takes less time the larger the batch, that an update
takes the same time up to some thousand examples, and that larger batches end worse in training and
on the test set if nothing else changes. An article on batch size says that the curves agree if the
learning rate is scaled along. Here an MLP with one hidden layer trains on MNIST for 10 epochs of
SGD, at batches from 1 to all 60,000. The constant learning rate is right for batch 64. It is kept,
multiplied by √(B/64), or multiplied by B/64. A fourth setting keeps it and takes as many updates as
batch 64 ("same updates": 2.5 epochs at 16, 160 at 1,024).

Claim:    time per epoch falls by 5 or more from 1 to 256, and then no more; at equal epochs and one
          learning rate, accuracy falls with the batch; with linear scaling it holds to about N/10.
Found:    the first two as claimed; linear scaling holds only to 256, and fails completely from
          4,096 on (docs/studies.md).
Cost:     7 minutes on one CPU core for three seeds.
Command:  jbatch prepare mnist --from FOLDER_OF_THE_IDX_FILES
          jbatch compare experiments/batch_size_sweep.py
"""

import optax

from jbatch import MLP, TFDS, Classify, Comparison, Coupling, Experiment

N = 60_000
RATE = optax.constant_schedule(0.05)
SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16_384, N)
SETTINGS = {  # power of the batch that the rate follows, equal updates instead of epochs, sizes
    "one rate": (0.0, False, SIZES),
    "square root": (0.5, False, SIZES),
    "linear": (1.0, False, SIZES),
    "one rate and same updates": (0.0, True, SIZES[1:6]),
}


def experiment(name, scaling, same_updates, size):
    """A run at one batch size."""
    epoch = size / 64 if same_updates else 1.0  # of 64, in epochs of this size
    return Experiment(
        plan=Coupling(
            schedule=RATE,
            num_examples=N,
            num_epochs=10,
            batch_size=size,
            batch_sizes=(size,),
            base_batch_size=64,
            adapt_regime=same_updates,
            scaling=scaling,
        ),
        task=Classify(MLP((128,))),
        data=TFDS("mnist"),
        micro_batch=4096,
        log_every=0.25 * epoch,
        eval_every=0.25 * epoch,
        save_every=10 * epoch,
        series=name,
        point={"batch size": size},
    )


variants = {
    f"{name}, batch size {size}": experiment(name, scaling, same_updates, size)
    for name, (scaling, same_updates, sizes) in SETTINGS.items()
    for size in sizes
}

comparison = Comparison(seeds=(0, 1, 2), reach=97.0)
