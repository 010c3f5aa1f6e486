"""Write a model's arrays as safetensors, for programs without jbatch."""

import json
from pathlib import Path

import numpy as np
from safetensors.flax import save

from jbatch import __version__
from jbatch.files import write_whole
from jbatch.run.directory import read_run
from jbatch.run.trained import Trained, weights


def export(model: Trained, directory: Path, to: Path) -> tuple[int, int]:
    """Write the arrays to `to`, and to a JSON file beside it what they are.

    Args:
        model: the model of a run.
        directory: of the run.
        to: path of the safetensors file.

    Returns:
        The number of arrays, and of numbers in them.
    """
    arrays = weights(model)
    write_whole(to, save(arrays))
    run = read_run(directory)
    what = {
        "jbatch": __version__,
        "examples": model.examples,
        "metrics": model.metrics,
        "class_names": model.class_names,
        "normalization": model.learner.task.normalization,
        "arrays": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape)}
            for name, array in arrays.items()
        },
        "experiment": run["experiment"],
    }
    write_whole(to.with_suffix(".json"), json.dumps(what, indent=2) + "\n")
    return len(arrays), int(sum(np.prod(array.shape, dtype=np.int64) for array in arrays.values()))
