"""A coupling that tests change."""

import optax

STEP = optax.constant_schedule(0.1)


GOOD = {
    "schedule": STEP,
    "num_examples": 1000,
    "num_epochs": 3,
    "batch_size": 10,
    "growth_factor": 2,
}
