"""Is the batch that a probe calls critical the one from which on larger batches need more data?

The question of critical_batch.py in two minutes: the MLP of digits.py at a constant rate, 0.02 at
batch 16, which follows the batch. The critical batch of the sweep is the largest that reaches 93%
test accuracy within 1.2 times the epochs of the smallest.

Claim:    the critical batches of probes at 0.1 and 0.3 of the runs at batch 16 are within 2 times
          of the batch that the sweep finds.
Found:    so it is, for each of three seeds (docs/noise.md).
Cost:     two minutes on two CPU cores; a probe of such a short run takes 57% of its examples.
Command:  jbatch sweep experiments/critical_digits.py --grid plan.batch-size=16,32,64,128,256,512
          jbatch probe RUN --at 0.1 0.3 --multiples 1 2 4 8 16
          (RUN is runs/critical_digits/constant/plan.batch-size-16/seed-0, and seed-1, seed-2)
"""

import optax

from jbatch import MLP, Augment, Classify, Comparison, Coupling, Digits, Experiment

variants = {
    "constant": Experiment(
        plan=Coupling(
            schedule=optax.constant_schedule(0.02),
            num_examples=1500,
            num_epochs=30,
            batch_size=16,
            base_batch_size=16,
            momentum=0.9,
        ),
        task=Classify(MLP(hidden=(128,)), augment=Augment(pad=1)),
        data=Digits(),
        log_every=0.5,
        eval_every=0.5,
        save_every=30,
        keep_every=3,
    )
}

comparison = Comparison(seeds=(0, 1, 2), reach=93.0)
