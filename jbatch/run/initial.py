"""Give a run's initial state the weights of another run."""

from typing import Any

import jax

from jbatch.errors import Mistake, meant
from jbatch.experiment.weights import Weights
from jbatch.optim import named
from jbatch.run.trained import Trained, load
from jbatch.step.pure import State
from jbatch.task.base import Tree


def source_of(weights: Weights) -> Trained:
    """Load the other run; raise Mistake if it cannot be loaded."""
    return load(weights.run, weights.step)  # type: ignore[arg-type]  # the dataclass has checked it


def check_paths(weights: Weights, params: Tree) -> None:
    """Raise Mistake if a path names no parameter of the run."""
    known = [path for path, _ in named(params)]
    for path in (*weights.drop, *weights.freeze):
        if not any(begins(name, path) for name in known):
            raise Mistake(
                f"init names {path}, but the network has no such parameter{meant(path, known)} "
                f"(it has {', '.join(known[:8])}{', …' * (len(known) > 8)})"
            )


def with_weights(state: State, other: Trained, weights: Weights) -> State:
    """Return the state with the other run's parameters and statistics where they fit.

    Raises:
        Mistake: if a parameter has another shape, or none is found.
    """
    there, beside = dict(named(other.params)), dict(named(other.state))
    taken = 0

    def one(path: str, here: jax.Array, found: dict[str, Any]) -> jax.Array:
        nonlocal taken
        if path not in found or any(begins(path, drop) for drop in weights.drop):
            return here
        if found[path].shape != here.shape:
            raise Mistake(
                f"{path} has the shape {here.shape}, but {found[path].shape} in {weights.run}: "
                f'begin with another, init=Weights(…, drop=("{path}",))'
            )
        taken += 1
        placed: jax.Array = jax.device_put(found[path].astype(here.dtype), here.sharding)
        return placed

    def mapped(tree: Tree, found: dict[str, Any]) -> Tree:
        leaves = [one(path, leaf, found) for path, leaf in named(tree)]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    params = mapped(state.params, there)
    if not taken:
        mine = [path for path, _ in named(params)]
        raise Mistake(
            f"{weights.run} has no parameter of this network: it has {', '.join(list(there)[:8])}, "
            f"and the network {', '.join(mine[:8])}"
        )
    return state._replace(params=params, stats=mapped(state.stats, beside))


def begins(path: str, beginning: str) -> bool:
    """Return whether a path is, or is below, another."""
    return path == beginning or path.startswith(f"{beginning}.")
