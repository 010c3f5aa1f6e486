"""A task of plain functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jbatch.data.batch import Example
from jbatch.hidden import Hidden
from jbatch.task.base import Scores, Task, Tree, check_group, scores_of


@dataclass(frozen=True)
class Functions(Task):
    """Plain functions of parameters that are any pytree of arrays: JAX, equinox, haiku.

    Examples:
        >>> import jax.numpy as jnp
        >>> def init(key, example):
        ...     return {"slope": jnp.zeros(())}
        >>> def loss(params, example, key):
        ...     return (params["slope"] * example["x"] - example["y"]) ** 2
        >>> task = jbatch.Functions(init, loss)
    """

    init_params: Hidden[Callable[..., Any]]
    """Called as init_params(key, example); returns the parameters."""
    loss: Hidden[Callable[..., Any]]
    """Called as loss(params, example, key); returns what the loss of `Network` returns. The key is
    None in evaluation."""
    group: int | None = None
    """Examples of an update that see each other, over the axis "group"; None if none do."""

    def __post_init__(self) -> None:
        check_group(self.group)

    def init(self, key: jax.Array, example: Example) -> tuple[Tree, Tree]:
        """Return the initial parameters, and no state."""
        return self.init_params(key, example), {}

    def score(
        self, params: Tree, state: Tree, example: Example, key: jax.Array | None
    ) -> tuple[Scores, Tree]:
        """Return one example's scores."""
        return scores_of(self.loss(params, example, key)), state
