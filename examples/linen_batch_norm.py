"""A linen network in flax's usual style, with stock batch norm and dropout.

BatchNorm(axis_name="group") shares its statistics among the `ghost_batch` examples of a group,
wherever an update is cut. No layer before it has a bias: its gradient would be rounding alone.
"""

import optax
from flax import linen as nn

import jbatch


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        for channels in (16, 32):
            x = nn.Conv(channels, (3, 3), use_bias=False)(x)
            x = nn.BatchNorm(not train, axis_name="group", momentum=0.9)(x)
            x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape(-1))
        return nn.Dense(10)(x)


variants = {
    "grow": jbatch.Experiment(
        plan=jbatch.Coupling(
            optax.cosine_decay_schedule(0.05, 6),
            num_epochs=6,
            batch_size=50,
            batch_sizes=(50, 150, 300),
            momentum=0.9,
        ),
        task=jbatch.Classify(ConvNet(), augment=jbatch.Augment(pad=1), ghost_batch=50),
        data=jbatch.Digits(),
    )
}
