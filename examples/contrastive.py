"""A contrastive loss: each example against the others of its group.

The group is part of the task, not of the machine: 32 examples see each other, however many devices
or passes an update is cut into.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

import jbatch


@dataclass(frozen=True)
class TwoViews(jbatch.Task):
    """Find the other view of the same digit (InfoNCE; van den Oord et al., arXiv 1807.03748)."""

    group: int = 32
    """Examples that see each other."""
    temperature: float = 0.2
    """Divides the cosine of two views."""

    def init(self, key, example):
        """Return the initial parameters, and no state."""
        one, other = jax.random.split(key)
        hidden = jax.nn.initializers.he_normal()(one, (64, 64))
        return {"hidden": hidden, "out": jax.nn.initializers.he_normal()(other, (64, 16))}, {}

    def prepare(self, example, key):
        """Make two noisy views of an image; in evaluation the same two each time."""
        key = jax.random.key(0, impl="threefry2x32") if key is None else key
        image = example["image"].reshape(-1) / 16.0
        return image + 0.2 * jax.random.normal(key, (2, 64))

    def score(self, params, state, example, key):
        """Return how badly one example's first view finds its second one."""
        views = jax.nn.relu(example @ params["hidden"]) @ params["out"]
        one, other = views / jnp.linalg.norm(views, axis=1, keepdims=True)
        others = jax.lax.all_gather(other, "group")
        mine = jax.lax.axis_index("group")
        logits = others @ one / self.temperature
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, mine)
        return jbatch.Scores(loss, metrics={"found": logits.argmax() == mine}), state


variants = {
    "grow": jbatch.Experiment(
        plan=jbatch.Coupling(
            optax.cosine_decay_schedule(2e-3, 5),
            num_epochs=5,
            batch_size=32,
            growth_factor=2,
            max_batch_size=128,
            momentum=0.9,
        ),
        task=TwoViews(),
        data=jbatch.Digits(),
        optimizer=jbatch.AdamW(),
    )
}
comparison = jbatch.Comparison(metric="found", scale=100, margin=1)
