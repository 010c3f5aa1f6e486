"""What batch size does to speed and accuracy, when nothing else changes and when the rate follows.

Lee's lecture on batches: an epoch takes less time the larger the batch, an update the same up to
some thousand examples; and larger batches end worse in training and on the test set, if nothing
else is changed. An article on batch size: with the rate scaled along, the curves agree. Here a
perceptron of one hidden layer on MNIST, at batches from 1 to all 60,000, for 10 epochs of SGD at a
constant rate that is right for 64: kept, times √(B/64), times B/64; and for as many updates as 64
takes, at the kept rate ("same updates": 2.5 epochs at 16, 160 at 1,024).

Claim:    time per epoch falls by 5 or more from 1 to 256 and then no more; at equal epochs and one
          rate accuracy falls with the batch; at a rate that follows it holds to about N/10.
Found:    the first two; in proportion only to 256, and not at all from 4,096 on (docs/studies.md).
Cost:     7 minutes on one CPU core for three seeds.
Command:  jbatch prepare mnist --from FOLDER_OF_THE_IDX_FILES
          jbatch compare experiments/batch_size_sweep.py
"""

import optax

from jbatch import MLP, TFDS, Comparison, Coupling, Experiment

N = 60_000
RATE = optax.constant_schedule(0.05)
SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16_384, N)
SETTINGS = {  # power of the batch that the rate follows, equal updates instead of epochs, sizes
    "one rate": (0.0, False, SIZES),
    "square root": (0.5, False, SIZES),
    "linear": (1.0, False, SIZES),
    "one rate and same updates": (0.0, True, SIZES[1:6]),
}


def experiment(scaling, same_updates, size):
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
        model=MLP((128,)),
        data=TFDS("mnist"),
        micro_batch=4096,
        log_every=0.25 * epoch,
        eval_every=0.25 * epoch,
        save_every=10 * epoch,
    )


variants = {
    f"{name}, batch size {size}": experiment(scaling, same_updates, size)
    for name, (scaling, same_updates, sizes) in SETTINGS.items()
    for size in sizes
}

comparison = Comparison(seeds=(0, 1, 2), reach_accuracy=97.0)
