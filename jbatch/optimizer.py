"""What an optimizer is: a function of the rate, and of what else it wants to be told."""

import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from jbatch.errors import Mistake, said, shown
from jbatch.parameters import begins, named
from jbatch.plan.hold import Values

Rate = float | jax.Array  # a number, or one that a traced update is given

# A function of (rate, momentum), or of the rate alone, that returns an optax transformation. What
# the plan's `hold` changes is given by name: b2, eps, weight_decay. So is what it `asks` for. The
# values of `optim.py` are such. One that is made of others names them as its `parts`.
Optimizer = Callable[..., optax.GradientTransformation]

# What an optimizer is told of each update if it has parameters of these names: the batch size, and
# the part of the run that is over, from 0 to 1.
TOLD = ("batch_size", "progress")


def transformation(
    optimizer: Optimizer,
    rate: Rate,
    momentum: float,
    frozen: Sequence[str] = (),
    held: Mapping[str, Rate] | None = None,
) -> optax.GradientTransformation:
    """Return the optax transformation of an optimizer for one rate.

    Args:
        optimizer: a function of (rate, momentum), or of the rate alone.
        rate: of one update; traced.
        momentum: the plan's, known when the update is traced.
        frozen: paths, or beginnings of paths, of parameters that stay as they are.
        held: what else changes from update to update, by name: momentum, b2, eps, weight_decay,
            and those of `TOLD` that it asks for.

    Raises:
        Mistake: if the optimizer returns something else.
    """
    by_name = dict(held or {})
    given: tuple[Rate, ...] = (rate,)
    if takes_momentum(optimizer):
        given = rate, by_name.pop("momentum", momentum)
    try:
        made = optimizer(*given, **by_name)
    except TypeError as error:
        raise Mistake(
            f"the optimizer fails when it is given a rate ({said(error)}): give a function of the "
            "rate, or of (rate, momentum)"
        ) from error
    if not (hasattr(made, "init") and hasattr(made, "update")):
        raise Mistake(
            f"the optimizer returned {shown(made)}: give a function of the rate that returns an "
            "optax transformation, such as lambda rate: optax.adamw(rate)"
        )
    if not frozen:
        return made

    def kinds(params: Any) -> Any:
        names = [path for path, _ in named(params)]
        stay = [any(begins(name, path) for path in frozen) for name in names]
        labels = ["frozen" if each else "trained" for each in stay]
        return jax.tree.unflatten(jax.tree.structure(params), labels)

    return optax.partition({"trained": made, "frozen": optax.set_to_zero()}, kinds)


def asks(optimizer: Optimizer) -> tuple[str, ...]:
    """Return which of `TOLD` an optimizer, or a part of it, wants to be told of each update."""
    wanted = {name for part in _parts(optimizer) for name in asks(part)}
    return tuple(name for name in TOLD if name in wanted or name in _parameters(optimizer))


def takes(optimizer: Optimizer, name: str) -> bool:
    """Return whether an optimizer, or a part of it, is given this value by name."""
    mine = name in _parameters(optimizer)
    return mine or any(takes(part, name) for part in _parts(optimizer))


def takes_momentum(optimizer: Optimizer) -> bool:
    """Return whether an optimizer is a function of the plan's momentum too."""
    if parts := _parts(optimizer):
        return any(map(takes_momentum, parts))
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = _parameters(optimizer).values()
    required = [
        p for p in parameters if p.kind in by_place and p.default is p.empty and p.name not in TOLD
    ]
    return len(required) > 1


def own_values(optimizer: Optimizer) -> Values:
    """Return the values that an optimizer has of its own, of those that a plan can change.

    Of a function, they are the defaults of its parameters: (rate, momentum, b2=0.95). Of an
    optimizer that is made of others, they are those of the first.
    """
    if parts := _parts(optimizer):
        return own_values(parts[0])

    def own(name: str) -> float | None:
        parameter = _parameters(optimizer).get(name)
        value = getattr(optimizer, name, None if parameter is None else parameter.default)
        known = parameter is not None and isinstance(value, numbers.Real)
        return float(value) if known else None  # type: ignore[arg-type]

    momentum = getattr(optimizer, "own_momentum", None)
    return Values(own("momentum") if momentum is None else momentum, *map(own, Values._fields[1:]))


def leaves(optimizer: Optimizer) -> tuple[Optimizer, ...]:
    """Return the optimizers that an optimizer is made of; itself if it is of no others."""
    parts = _parts(optimizer)
    return tuple(leaf for part in parts for leaf in leaves(part)) if parts else (optimizer,)


def _parts(optimizer: Optimizer) -> tuple[Optimizer, ...]:
    found: tuple[Optimizer, ...] = getattr(optimizer, "parts", ())
    return found


def _parameters(optimizer: Optimizer) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(optimizer).parameters
    except (TypeError, ValueError):
        return {}
