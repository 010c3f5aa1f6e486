"""A quadratic of curvature 1 whose gradients are noise: its stationary state is known exactly."""

import jax.numpy as jnp
import numpy as np

from jbatch import Arrays, Coupling, Experiment, Functions

DIMENSIONS, BATCH, RATE = 128, 8, 0.2
drawn = np.random.default_rng(0).normal(size=(8000, DIMENSIONS)).astype(np.float32)
examples = {"x": drawn - drawn.mean(0)}  # so that the minimum is 0, where training begins


def squared_distance(params, example, key):
    """Half the squared distance from an example, less the part that no parameter changes."""
    del key
    return (params**2).sum() / 2 - (params * example["x"]).sum()


variants = {
    name: Experiment(
        Coupling(schedule, batch_size=BATCH, unit="examples", length=8000),
        task=Functions(lambda *_: jnp.zeros(DIMENSIONS), squared_distance),
        data=Arrays(examples, {"x": examples["x"][:8]}),
        micro_batch=BATCH,
        save_every=4000,
        keep_every=4000,
        updates_per_call=50,
    )
    for name, schedule in {
        "stationary": lambda _: RATE,
        "diverging": lambda x: RATE + 3 * (x // 4000),  # after its checkpoint
    }.items()
}
