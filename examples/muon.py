"""Any optax transformation: Muon for matrices, Adam for the rest, the gradient clipped.

An optimizer is a function of the rate, or of the rate and the plan's momentum.
"""

import jax
import optax

import jbatch


def optimizer(rate, momentum):
    """Return the transformation for one update's rate."""

    def kinds(params):
        return jax.tree.map(lambda leaf: "muon" if leaf.ndim == 2 else "adam", params)

    parts = {
        "muon": optax.contrib.muon(rate, beta=momentum),
        "adam": optax.adam(rate / 10, b1=momentum),
    }
    return optax.chain(optax.clip_by_global_norm(1.0), optax.partition(parts, kinds))


variants = {
    "grow": jbatch.Experiment(
        plan=jbatch.Coupling(
            optax.linear_schedule(0.02, 0.001, 4),
            num_epochs=4,
            batch_size=50,
            growth_factor=3,
            max_batch_size=150,
            momentum=0.9,
        ),
        task=jbatch.Classify(jbatch.MLP((128,)), augment=jbatch.Augment(pad=1)),
        data=jbatch.Digits(),
        optimizer=optimizer,
        average=1500,  # examples; evaluated beside the parameters
    )
}
