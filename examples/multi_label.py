"""Several labels for each example, and F1: a metric that is no sum.

`score` sums the counts that F1 is made of, and `finish` makes F1 of their sums.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import make_multilabel_classification

import jbatch


@dataclass(frozen=True)
class Tags(jbatch.Task):
    """Yes-or-no labels by a linear model, on examples {"features": …, "labels": …}."""

    threshold: float = 0.5
    """Probability above which the answer is yes."""

    def init(self, key, example):
        """Return the initial parameters, and no state."""
        shape = (len(example["features"]), len(example["labels"]))
        return {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[1])}, {}

    def score(self, params, state, example, key):
        """Return one example's loss, and its counts for F1."""
        labels = example["labels"]
        logits = example["features"] @ params["kernel"] + params["bias"]
        loss = optax.sigmoid_binary_cross_entropy(logits, labels.astype(jnp.float32)).sum()
        said = jax.nn.sigmoid(logits) > self.threshold
        counts = {"hits": said & labels, "said": said, "are": labels}
        return jbatch.Scores(loss, metrics={"f1": (counts, 1.0)}), state

    def finish(self, sums):
        """Return the loss, and F1 averaged over the labels."""
        counts, _ = sums["f1"]
        f1 = 2 * counts["hits"] / np.maximum(counts["said"] + counts["are"], 1)
        return {"loss": sums["loss"][0] / sums["loss"][1], "f1": f1.mean()}


features, labels = make_multilabel_classification(
    n_samples=1200, n_features=20, n_classes=5, random_state=0
)
features, labels = features / 10, labels.astype(bool)
variants = {
    "grow": jbatch.Experiment(
        plan=jbatch.Coupling(
            optax.cosine_decay_schedule(0.3, 10),
            num_epochs=10,
            batch_size=20,
            growth_factor=2,
            max_batch_size=80,
            momentum=0.9,
        ),
        task=Tags(),
        data=jbatch.Arrays(
            train={"features": features[:1000], "labels": labels[:1000]},
            test={"features": features[1000:], "labels": labels[1000:]},
        ),
        keep_best="f1",
    )
}
comparison = jbatch.Comparison(metric="f1", scale=100, margin=1)
