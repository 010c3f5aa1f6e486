"""Flax modules, nnx's and linen's, as functions of parameters and state.

A module is called with one example, inside the map over a group's examples.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import jax
from flax import linen, nnx

from jbatch.errors import Mistake, said, shown
from jbatch.task.base import Tree

AVERAGES = ("mean", "var")  # of flax's batch norms
MOST_KEPT = 64  # structures of modules per process

Result = TypeVar("Result")
Path = tuple[str, ...]  # of an array in a tree: the keys on the way to it
Decays = dict[Path, float]  # of the averages in a state


class Module(Protocol):
    """A module whose arrays are outside of it."""

    def init(self, key: jax.Array, call: Callable[[Any], object]) -> tuple[Tree, Tree]:
        """Return (parameters, state); `call` is given the module and calls it once."""

    def apply(
        self, params: Tree, state: Tree, key: jax.Array | None, call: Callable[[Any], Result]
    ) -> tuple[Result, Tree]:
        """Return `call` of the module with these arrays, and the state it leaves.

        The module trains if there is a key, and else evaluates.
        """

    def decays(self, call: Callable[[Any], object]) -> Decays:
        """Return the decay of each running average in the state.

        Raises:
            Mistake: if a batch norm would average over one example.
        """


def module_of(given: Any) -> Module:
    """Adapt a linen module, or a factory of an nnx module that takes `rngs`.

    Raises:
        Mistake: if it is neither.
    """
    if isinstance(given, linen.Module):
        return Linen(given)
    if isinstance(given, nnx.Module):
        name = type(given).__name__
        raise Mistake(
            f"the network is a {name} that is already built: give what builds it, such as {name} "
            f"or lambda rngs: {name}(…, rngs=rngs). jbatch builds it with the run's seed"
        )
    if isinstance(given, type) and given.__module__.startswith("jbatch.models."):
        name = given.__name__
        raise Mistake(f"the network is the class {name} itself: give a value of it, {name}(…)")
    if not callable(given):
        raise Mistake(
            f"the network is {shown(given)}: give a flax linen module, or a function of rngs that "
            "returns a flax nnx module"
        )
    return NNX(given)


@dataclass(frozen=True)
class NNX:
    """An nnx module, built by a function of `rngs`."""

    factory: Callable[..., nnx.Module]

    def init(self, key: jax.Array, call: Callable[[Any], object]) -> tuple[Tree, Tree]:
        """Build the module; it knows its shapes without being called."""
        del call
        _, params, _, state = _split(_built(self.factory, key))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    def apply(
        self, params: Tree, state: Tree, key: jax.Array | None, call: Callable[[Any], Result]
    ) -> tuple[Result, Tree]:
        """Return `call` of the module with these arrays, and the state it leaves."""
        graph, _, streams, _ = _structure(self.factory)
        network = nnx.merge(
            graph,
            nnx.State(params),
            _keyed(streams, jax.random.key(0, impl="threefry2x32") if key is None else key),
            nnx.State(state),
        )
        network.eval() if key is None else network.train()
        result = call(network)
        return result, nnx.to_pure_dict(_split(network)[3])

    def decays(self, call: Callable[[Any], object]) -> Decays:
        """Return the decay of each batch norm's running statistics."""
        del call
        found: Decays = {}
        for path, module in nnx.iter_modules(_abstract(self.factory)):
            if isinstance(module, nnx.BatchNorm):
                _check_batch_norm("/".join(map(str, path)), module.axis_name)
                at = tuple(map(str, path))
                found.update({(*at, name): float(module.momentum) for name in AVERAGES})
        return found


def _built(factory: Callable[..., nnx.Module], key: jax.Array) -> nnx.Module:
    try:
        made = factory(rngs=nnx.Rngs(key))
    except TypeError as error:
        raise Mistake(
            f"the network cannot be built from rngs alone ({said(error)}): give a function of "
            "rngs, such as lambda rngs: Net(10, rngs=rngs)"
        ) from error
    if not isinstance(made, nnx.Module):
        raise Mistake(
            f"the network's function returned {shown(made)}: return a flax nnx module. For plain "
            "functions there is jbatch.Functions"
        )
    return made


@lru_cache(MOST_KEPT)
def _abstract(factory: Callable[..., nnx.Module]) -> nnx.Module:
    with jax.enable_x64(False):
        module: nnx.Module = nnx.eval_shape(
            lambda: _built(factory, jax.random.key(0, impl="threefry2x32"))
        )
    return module


@lru_cache(MOST_KEPT)
def _structure(factory: Callable[..., nnx.Module]) -> tuple[Any, Any, Any, Any]:
    return _split(_abstract(factory))


def _split(module: nnx.Module) -> tuple[Any, Any, Any, Any]:
    """Return (structure, parameters, random streams, everything else)."""
    graph, *states = nnx.split(module, nnx.Param, nnx.RngState, ...)
    params, streams, state = states
    return graph, params, streams, state


def _keyed(streams: Any, key: jax.Array) -> Any:
    """Return a module's random streams, each begun anew from one example's key."""
    leaves, structure = jax.tree.flatten(streams)
    keys = iter(jax.random.split(key, max(len(leaves), 1)))
    begun = [
        next(keys)
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jax.numpy.zeros(leaf.shape, leaf.dtype)
        for leaf in leaves
    ]
    return jax.tree.unflatten(structure, begun)


@dataclass(frozen=True)
class Linen:
    """A linen module."""

    module: linen.Module

    def init(self, key: jax.Array, call: Callable[[Any], object]) -> tuple[Tree, Tree]:
        """Initialize the module by calling it."""
        made = linen.init(lambda module: call(module), self.module)(key)
        state = dict(made)
        return state.pop("params", {}), state

    def apply(
        self, params: Tree, state: Tree, key: jax.Array | None, call: Callable[[Any], Result]
    ) -> tuple[Result, Tree]:
        """Return `call` of the module with these arrays, and the state it leaves."""
        function = linen.apply(
            lambda module: call(module), self.module, mutable=False if key is None else [*state]
        )
        # `make_rng` of any name begins from "params" if its own stream is not given.
        rngs = {} if key is None else {"params": key}
        found = function({"params": params, **state}, rngs=rngs)
        if key is None:
            return found, state
        return found[0], dict(found[1])

    def decays(self, call: Callable[[Any], object]) -> Decays:
        """Return the decay of each batch norm's running statistics."""
        found: Decays = {}

        def look(method: Any, arguments: Any, named: Any, context: Any) -> Any:
            module = context.module
            if isinstance(module, linen.BatchNorm):
                _check_batch_norm("/".join(module.path), module.axis_name)
                at = ("batch_stats", *module.path)
                found.update({(*at, name): float(module.momentum) for name in AVERAGES})
            return method(*arguments, **named)

        key = jax.random.key(0, impl="threefry2x32")
        with linen.intercept_methods(look):
            jax.eval_shape(lambda: linen.init(lambda module: call(module), self.module)(key))
        return found


def _check_batch_norm(name: str, axis_name: str | None) -> None:
    if axis_name is None:
        raise Mistake(
            f"the batch norm {name} has no axis_name, so it would normalize each example by "
            'itself: give BatchNorm(…, axis_name="group"), and the task a group, the number of '
            "examples that share statistics"
        )


def called(network: Any, example: Any, train: bool) -> Any:
    """Return a module's output for one example; it is told whether it trains if it asks."""
    given = {"train": train} if takes(type(network).__call__, "train") else {}
    return network(example, **given)


def takes(function: Any, name: str) -> bool:
    """Return whether a function has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
