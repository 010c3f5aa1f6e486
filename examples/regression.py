"""Tabular regression: a small network predicts the progress of diabetes."""

import optax
from flax import nnx
from sklearn.datasets import load_diabetes

import jbatch

rows, progress = load_diabetes(return_X_y=True)
rows, progress = rows * 20, (progress - progress.mean()) / progress.std()


def network(rngs):
    return nnx.Sequential(
        nnx.Linear(10, 32, rngs=rngs),
        nnx.relu,
        nnx.Linear(32, 1, rngs=rngs),
        lambda x: x[0],
    )


variants = {
    "adam": jbatch.Experiment(
        plan=jbatch.Coupling(
            optax.exponential_decay(3e-3, 10, 0.3),
            num_epochs=30,
            batch_size=16,
            batch_multiple=16,
            max_batch_size=128,
            momentum=0.9,
        ),
        task=jbatch.Regress(network),
        data=jbatch.Arrays(
            train={"input": rows[:352], "target": progress[:352]},
            test={"input": rows[352:], "target": progress[352:]},
        ),
        optimizer=jbatch.AdamW(weight_decay=0.1),
        log_every=5,
        eval_every=5,
    )
}
comparison = jbatch.Comparison(metric="r2", better="higher", margin=0.05)
