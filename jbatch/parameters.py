"""Parameters by their paths, and which of them weight decay applies to."""

from collections.abc import Callable
from typing import Any

import jax

from jbatch.errors import Mistake, meant
from jbatch.text import listed

# Paths, or beginnings of paths, such as "layers.0"; or a function of a parameter's path and array.
DecayOn = tuple[str, ...] | Callable[[str, Any], bool] | None


def named(tree: Any) -> list[tuple[str, Any]]:
    """Return every array of a tree with its path, such as "layers.0.kernel"."""
    return [
        (".".join(jax.tree_util.keystr((key,), simple=True) for key in path), leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]


def begins(path: str, beginning: str) -> bool:
    """Return whether a path is, or is below, another: "layers.0.kernel" and "layers"."""
    return path == beginning or path.startswith(f"{beginning}.")


def decayed(params: Any) -> Any:
    """Mark the parameters that weight decay applies to: not norms and biases.

    Those have one axis, or are called bias or scale: a scan over layers stacks them to two.
    """

    def one(path: tuple[Any, ...], leaf: Any) -> bool:
        name = str(getattr(path[-1], "key", "")) if path else ""
        return leaf.ndim > 1 and name not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(one, params)


def decay_mask(decay_on: DecayOn, what: str = "decay_on") -> Callable[[Any], Any]:
    """Return the function of parameters that marks those which decay.

    It raises Mistake, in which `what` says who names them, if a path names no parameter.
    """
    if decay_on is None:
        return decayed

    def mask(params: Any) -> Any:
        paths = [path for path, _ in named(params)]
        if callable(decay_on):
            marked = [bool(decay_on(path, leaf)) for path, leaf in named(params)]
        else:
            for beginning in decay_on:
                if not any(begins(path, beginning) for path in paths):
                    raise Mistake(
                        f"{what} names {beginning}, but no parameter that trains is called so"
                        f"{meant(beginning, paths)} (there are {listed(paths, 8, ', ', ' and ')})"
                    )
            marked = [any(begins(path, beginning) for beginning in decay_on) for path in paths]
        return jax.tree.unflatten(jax.tree.structure(params), marked)

    return mask
