"""A parquet file through Hugging Face's `datasets`, read by worker processes.

Any map-style dataset works so: PyTorch's, Grain's sources, tfds.data_source, a list.
"""

import tempfile
from pathlib import Path

import numpy as np
import optax
from datasets import Dataset
from flax import nnx
from sklearn.datasets import load_wine

import jbatch

CACHE = Path(tempfile.gettempdir()) / "jbatch_wine.parquet"
if not CACHE.exists():  # stands for a file of your own
    wine = load_wine()
    rows = Dataset.from_dict({"features": wine.data.tolist(), "kind": wine.target.tolist()})
    rows.shuffle(seed=0).to_parquet(CACHE)
table = Dataset.from_parquet(str(CACHE), cache_dir=str(CACHE.parent))
seen = np.array(table[:140]["features"])
MEAN, DEVIATION = seen.mean(0), seen.std(0)


def load(record, rng):
    """Make an example of a record; rng is None in evaluation."""
    features = (np.array(record["features"]) - MEAN) / DEVIATION
    if rng is not None:
        features += rng.normal(scale=0.1, size=features.shape)
    return {"image": np.float32(features), "label": record["kind"]}


def network(rngs):
    return nnx.Sequential(nnx.Linear(13, 32, rngs=rngs), nnx.relu, nnx.Linear(32, 3, rngs=rngs))


variants = {
    "grow": jbatch.Experiment(
        plan=jbatch.Coupling(
            optax.linear_schedule(0.05, 0.0, 30),
            num_epochs=30,
            batch_size=8,
            growth_factor=2,
            max_batch_size=64,
            momentum=0.9,
        ),
        task=jbatch.Classify(network, normalize="none"),
        data=jbatch.Source(
            train=table.select(range(140)),
            test=table.select(range(140, 178)),
            load=load,
            num_classes=3,
            workers=2,
        ),
        log_every=10,
        eval_every=10,
    )
}
