"""Is the batch that a probe calls critical the one from which on larger batches need more data?

Shallue et al. (arXiv 1811.03600) count updates to a target: up to some batch size, twice the batch
needs half of them, so the same examples. Here that batch is the largest that reaches 88% test
accuracy within 1.2 times the epochs of the smallest (Zhang et al., arXiv 2410.21676, use 20% too).
`jbatch sweep` measures it with one run for each batch. `jbatch probe` looks for it in one run, by
branches from its checkpoints. The small convolutional network of fashion_mnist.py trains at a
constant rate, 0.05 at batch 128, which follows the batch.

Claim:    the critical batches of three probes, of seeds 0 to 2 at 0.3 of the run, are within 2
          times of the batch that the sweep finds, at a cost of 15% of the run's examples at most.
Cost:     two and a half minutes per run on one CPU core, 40 minutes for all; half a minute a probe.
Command:  jbatch prepare fashion_mnist --from FOLDER_OF_THE_IDX_FILES
          jbatch sweep experiments/critical_batch.py --grid plan.batch-size=128,256,512,1024,2048
          jbatch probe runs/critical_batch/constant/plan.batch-size-128/seed-0 --at 0.3
"""

import optax

from jbatch import (
    SGD,
    TFDS,
    Augment,
    Classify,
    Comparison,
    Coupling,
    Experiment,
    GhostBatchNorm,
    SmallCNN,
)

variants = {
    "constant": Experiment(
        plan=Coupling(
            schedule=optax.constant_schedule(0.05),
            num_examples=60_000,
            num_epochs=16,
            batch_size=128,
            base_batch_size=128,
            momentum=0.9,
        ),
        task=Classify(SmallCNN((16, 32, 64), GhostBatchNorm(128)), augment=Augment(pad=2)),
        data=TFDS("fashion_mnist"),
        optimizer=SGD(weight_decay=5e-4),
        micro_batch=128,
        eval_every=0.25,
        save_every=16,
        keep_every=1.6,
    )
}

comparison = Comparison(seeds=(0, 1, 2), reach=88.0)
