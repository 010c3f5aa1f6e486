"""Training on streamed photographs, small enough for a test; give --data.source.path."""

from pathlib import Path

import optax

from jbatch import (
    MLP,
    Augment,
    Classify,
    Coupling,
    Experiment,
    GhostBatchNorm,
    ImageFolder,
    Photographs,
)

variants = {
    "growing": Experiment(
        plan=Coupling(
            schedule=optax.piecewise_constant_schedule(0.05, {3: 0.25}),
            num_examples=96,
            num_epochs=6,
            batch_size=8,
            batch_sizes=(8, 32),
            momentum=0.9,
        ),
        task=Classify(
            MLP(hidden=(16,), norm=GhostBatchNorm(ghost_batch=8)),
            augment=Augment(flip=True, color=0.2),
        ),
        data=Photographs(ImageFolder(Path("somewhere")), image_size=8, workers=2),
        save_every=1,
    ),
}
