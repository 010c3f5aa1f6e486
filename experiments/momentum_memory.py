"""How long momentum's accumulator takes to follow a change of noise scale.

Smith et al. (arXiv 1711.00489, section 5): an accumulator that starts at 0 suppresses the first
1/(1−m) updates, B/(N(1−m)) epochs, and again after each change. An MLP trains on MNIST at a
constant learning rate, and its batch grows from 64 to 512 in the middle (the schedule decays by 8,
and all of this becomes growth). jbatch logs the length of every update.

Claim:    the squared length of updates approaches its new level as 1 − m^(2t), t updates after the
          change: a time constant of 1/(2(1−m)) updates for each momentum.
Found:    as claimed at first, then slower: 10 to 60% longer in total (docs/studies.md).
Cost:     4 minutes on one CPU core for ten seeds.
Command:  jbatch compare experiments/momentum_memory.py
"""

import optax

from jbatch import MLP, TFDS, Classify, Comparison, Coupling, Experiment

N = 60_000
CHANGE = 2.0  # epochs, after which gradients change slowly
EFFECTIVE = 0.02  # ε/(1−m): the same for all

variants = {
    f"momentum {momentum:g}": Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(EFFECTIVE * (1 - momentum), {CHANGE: 1 / 8}),
            num_examples=N,
            num_epochs=8,
            batch_size=64,
            batch_sizes=(64, 512),
            momentum=momentum,
        ),
        task=Classify(MLP((128,))),
        data=TFDS("mnist"),
        log_every=64 / N,
        save_every=8,
        measure_distance=True,
    )
    for momentum in (0.5, 0.8, 0.9, 0.95, 0.98)
}

comparison = Comparison(seeds=tuple(range(10)))
