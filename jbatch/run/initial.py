"""Give a run's initial state the weights of another run."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbatch.distributed import agree
from jbatch.errors import Mistake, meant
from jbatch.experiment.weights import Weights
from jbatch.files import expanded
from jbatch.parameters import begins, named
from jbatch.run.checkpoint import parameters_digest
from jbatch.run.trained import Trained, load, opened
from jbatch.step.pure import State, optimizer_of
from jbatch.task.base import Learner, Tree


def source_of(weights: Weights) -> Trained:
    """Load the other run, in all processes; raise Mistake if it cannot be loaded."""
    step: Any = weights.step  # the dataclass has checked it
    run = Path(weights.run)
    # First what may fail in one process alone: then the others do not wait for it.
    agree.together("the run of init", lambda: opened(run, trusted=weights.trusted))
    return load(run, step, trusted=weights.trusted)


def weights_digest(weights: Weights) -> str:
    """Return the SHA-256 of the other run's parameters; "" if that run is gone.

    A run that has saved a checkpoint does not need the other one any more.

    Raises:
        Mistake: if it cannot be loaded, or only some processes see it.
    """
    there = agree.exchange(
        "whether there is the run of init", str(expanded(Path(weights.run)).exists())
    )
    if len(set(there)) > 1:
        blind = ", ".join(str(process) for process, seen in enumerate(there) if seen == "False")
        raise Mistake(
            f"process {blind} does not see {weights.run}, the run of init: give a run on a file "
            "system that all hosts share"
        )
    return parameters_digest(source_of(weights).params) if there[0] == "True" else ""


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
        # From the host: JAX (as of 0.12) cannot place the arrays of several processes anew.
        placed: jax.Array = jax.device_put(np.asarray(found[path], here.dtype), here.sharding)
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
    begun = jax.jit(
        lambda params: optimizer_of(learner, 0.0).init(params),
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state.optimizer),
    )
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        optimizer = begun(params)
    return state._replace(params=params, stats=mapped(state.stats, beside), optimizer=optimizer)
