"""Regression: a network of your own, and its squared error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.data.about import About
from jbatch.data.batch import Example
from jbatch.errors import Mistake
from jbatch.hidden import Hidden
from jbatch.task.base import Scores, Task, check_group, means
from jbatch.task.modules import called, module_of
from jbatch.task.network import ModuleTask


@dataclass(frozen=True)
class Regress(ModuleTask):
    """Predict numbers by squared error, on examples {"input": …, "target": …}.

    The loss is the mean squared error of an example's targets. The metrics are absolute_error, and
    r2, the share of the targets' variance that is explained.

    Examples:
        >>> from flax import nnx
        >>> task = jbatch.Regress(lambda rngs: nnx.Linear(3, 1, rngs=rngs))
    """

    module: Hidden[Any]
    """A linen module, or a function of rngs that returns an nnx module. It is called with one
    input, and returns an array like the target."""
    group: int | None = None
    """Examples that share the statistics of BatchNorm(axis_name="group"); None without."""

    def __post_init__(self) -> None:
        check_group(self.group)
        module_of(self.module)

    def fitted(self, about: About) -> Task:
        """Return the task for a dataset's examples; raise Mistake without input and target."""
        example = about.example.tree
        if not isinstance(example, dict) or not {"input", "target"} <= set(example):
            has = ", ".join(map(repr, example)) if isinstance(example, dict) else "no names"
            raise Mistake(
                f"Regress wants examples with 'input' and 'target', but the dataset's have {has}: "
                'rename them, as Arrays(train={"input": …, "target": …}, test=…)'
            )
        return super().fitted(about)

    def output(self, network: Any, example: Example, train: bool = False) -> jax.Array:
        """Return the prediction for one input."""
        found: jax.Array = called(network, example["input"], train)
        return found

    def call(self, network: Any, example: Example, key: jax.Array | None) -> Scores:
        """Return one example's squared error."""
        said, target = self.output(network, example, key is not None), example["target"]
        if said.shape != target.shape:
            raise Mistake(
                f"the network returns the shape {said.shape} for one input, but a target has "
                f"{target.shape}: return that shape, without a batch axis"
            )
        target = target.astype(jnp.float32)
        error = said.astype(jnp.float32) - target
        sums = {"target": target.sum(), "square": jnp.square(target).sum(), "count": target.size}
        sums |= {"error": jnp.square(error).sum()}
        return Scores(
            jnp.square(error).mean(),
            metrics={"absolute_error": jnp.abs(error).mean(), "r2": (sums, 1.0)},
        )

    def finish(self, sums: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
        """Return the means, and r2 = 1 − Σ error² / Σ (target − mean)²."""
        found, rest = sums["r2"][0], {name: pair for name, pair in sums.items() if name != "r2"}
        spread = found["square"] - np.square(found["target"]) / found["count"]
        r2 = {"r2": float(1 - found["error"] / spread)} if spread > 0 else {}
        return {**means(rest), **r2}
