"""Does growing the batch keep it over the gradient noise scale?

McCandlish et al. (arXiv 1812.06162) see the gradient noise scale B_simple = trΣ/|G|² rise over
training, and with every decay of the learning rate. A batch that stays then falls ever further
below it. An MLP on Fashion-MNIST trains by the decaying rate and by the increasing batch of
Smith et al. (arXiv 1711.00489), where ε/B is divided by 5 at epochs 3, 6 and 8, and measures its
gradient noise in every update. The report's figure of the measured gradient noise scale has both,
and the batches as dots.

Claim:    B_simple rises tenfold or more from the first epoch to the last, by the same in decaying
          and increasing to within 2 times; in increasing, the batch over it stays within 4 times of
          where it began, and in decaying it falls to a tenth or less.
Found:    it rises twentyfold in six epochs, and further; but averages over 100 updates lag when
          the batch is large, so that the two are within 2 times only until epoch 6. The batch over
          it falls to 0.22 times where it began before the first growth, and ends at 1.5 times; in
          decaying it falls to a sixtieth or less (docs/studies_noise.md).
Cost:     under two minutes of one CPU core for both over three seeds.
Command:  jbatch prepare fashion_mnist --from FOLDER_OF_THE_IDX_FILES
          jbatch compare experiments/noise_over_training.py
"""

import optax

from jbatch import MLP, TFDS, Claim, Classify, Comparison, Coupling, Experiment

LARGEST = {"decaying": 128, "increasing": 5000}  # batch size

variants = {
    name: Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(0.04, dict.fromkeys((3, 6, 8), 1 / 5)),
            num_examples=60_000,
            num_epochs=10,
            batch_size=128,
            max_batch_size=largest,
            growth_factor=5,
            momentum=0.9,
        ),
        task=Classify(MLP((256,))),
        data=TFDS("fashion_mnist"),
        micro_batch=64,  # so that every update has parts, and its noise is measured
        log_every=0.25,
        save_every=10,
        measure_noise=True,
    )
    for name, largest in LARGEST.items()
}

comparison = Comparison((Claim("decaying", same=("increasing",)),), seeds=(0, 1, 2))
