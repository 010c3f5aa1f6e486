"""Give a run's initial state the weights of another run."""

from pathlib import Path
from typing import Any

import jax

from jbatch.errors import Mistake, meant
from jbatch.experiment.weights import Weights
from jbatch.optim import begins, named
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.trained import Trained, load
from jbatch.step.pure import State, optimizer_of
from jbatch.task.base import Learner, Tree


def source_of(weights: Weights) -> Trained:
    """Load the other run; raise Mistake if it cannot be loaded."""
    if jax.process_count() > 1:
        raise Mistake(
            "init=Weights(…) works with one process: start the run with one, and once it has saved "
            "a checkpoint go on with several"
        )
    step: Any = weights.step  # the dataclass has checked it
    return load(weights.run, step, trusted=weights.trusted)


def weights_digest(weights: Weights) -> str:
    """Return the SHA-256 of the other run's parameters; "" if that run is gone.

    A run that has saved a checkpoint does not need the other one any more.
    """
    if jax.process_count() > 1 or not Path(weights.run).exists():
        return ""
    return parameters_digest(source_of(weights).params)


def check_paths(weights: Weights, params: Tree) -> None:
    """Raise Mistake if a path names no parameter of the run."""
    known = [path for path, _ in named(params)]
    for path in (*weights.drop, *weights.freeze):
        if not any(begins(name, path) for name in known):
            raise Mistake(
                f"init names {path}, but the network has no such parameter{meant(path, known)} "
                f"(it has {', '.join(known[:8])}{', …' * (len(known) > 8)})"
            )


def with_weights(learner: Learner, state: State, other: Trained, weights: Weights) -> State:
    """Return the state with the other run's parameters and statistics where they fit.

    The optimizer begins anew from them, because some optimizers copy the parameters.

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
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        optimizer = optimizer_of(learner, 0.0).init(params)
    placed = jax.tree.map(
        lambda new, old: jax.device_put(new, old.sharding), optimizer, state.optimizer
    )
    return state._replace(params=params, stats=mapped(state.stats, beside), optimizer=placed)
