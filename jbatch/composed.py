"""Optimizers made of others: rates and decays by group, clipping, lookahead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jbatch.errors import Mistake, make_plain, not_negative, positive, share, shown
from jbatch.hidden import Hidden
from jbatch.optimizer import (
    Optimizer,
    Rate,
    leaves,
    own_values,
    takes,
    takes_momentum,
    transformation,
)
from jbatch.parameters import DecayOn, decay_mask


@dataclass(frozen=True)
class Group:
    """Some parameters, and how an optimizer moves them.

    Examples:
        >>> head = jbatch.Group(on=("head",), optimizer=jbatch.SGD(), rate=10.0)
        >>> frozen = jbatch.Group(on=("stem.kernel",))
    """

    on: Hidden[DecayOn] = None
    """Which: paths, or beginnings of paths, such as ("stem.bias",), or a function of (path, array).
    None: all that no group before it has."""
    optimizer: Hidden[Optimizer | None] = None
    """Their optimizer. None: they stay as they are."""
    rate: float = 1.0
    """A factor on the plan's rate."""
    until: float = 1.0
    """Part of the run, from 0 to 1, after which they stay as they are."""

    def __post_init__(self) -> None:
        make_plain(self)
        paths = isinstance(self.on, tuple) and all(isinstance(path, str) for path in self.on)
        if self.on is not None and not paths and not callable(self.on):
            raise Mistake(
                f'on is {shown(self.on)}: give a tuple of paths, such as ("stem.bias",), or a '
                "function of (path, array)"
            )
        _check_optimizer("optimizer", self.optimizer)
        not_negative("rate", self.rate)
        if not 0 <= self.until <= 1:
            raise Mistake(f"until is {self.until:g}: give a part of the run, from 0 to 1")
        if self.optimizer is None and (self.rate, self.until) != (1, 1):
            raise Mistake(
                f"a group has rate {self.rate:g} and until {self.until:g}, but no optimizer, so "
                "that it never moves: give it one, such as SGD(), or leave both out"
            )


@dataclass(frozen=True)
class Groups:
    """Each group of parameters has an optimizer and a factor on the rate of its own.

    A parameter belongs to the first group that names it. Momentum, and what else the plan leaves to
    the optimizer, are those of the first group with an optimizer.

    Examples:
        >>> head = jbatch.Group(on=("head",), optimizer=jbatch.SGD(), rate=10.0)
        >>> rest = jbatch.Group(optimizer=jbatch.SGD(weight_decay=1e-4))
        >>> optimizer = jbatch.Groups((head, rest))
    """

    groups: Hidden[tuple[Group, ...]]
    """In the order in which they are asked; the last one should be the rest."""

    def __post_init__(self) -> None:
        if not isinstance(self.groups, tuple) or not all(
            isinstance(group, Group) for group in self.groups
        ):
            raise Mistake(f"groups is {shown(self.groups)}: give a tuple, such as (Group(…),)")
        if not self.parts:
            raise Mistake("no group has an optimizer, so that nothing trains: give one")

    @property
    def parts(self) -> tuple[Optimizer, ...]:
        """The optimizers of the groups."""
        return tuple(each.optimizer for each in self.groups if each.optimizer is not None)

    def __call__(
        self, rate: Rate, momentum: Rate = 0.0, *, progress: Rate = 0.0, **told: Any
    ) -> optax.GradientTransformation:
        """Return the optax transformation.

        Raises:
            Mistake: when it begins, if a path names no parameter, or a parameter is in no group.
        """
        self._check_held(told)
        made = {}
        for number, group in enumerate(self.groups):
            if group.optimizer is None:
                made[number] = optax.set_to_zero()
                continue
            given = {**told, "progress": progress}
            steps = _made(group.optimizer, group.rate * rate, momentum, given)
            made[number] = steps if group.until == 1 else _until(steps, group.until, progress)
        return optax.partition(made, self._numbers)

    def _check_held(self, told: dict[str, Any]) -> None:
        """Raise Mistake if hold would give all groups a value that is not theirs."""
        for name in set(told) & {"b2", "eps", "weight_decay"}:
            values = [getattr(own_values(leaf), name) for leaf in leaves(self) if takes(leaf, name)]
            own = {value for value in values if value is not None}
            if len(own) > 1:
                raise Mistake(
                    f"hold makes {name} follow the batch, but the groups begin with different ones "
                    f"({', '.join(f'{value:g}' for value in sorted(own))}): give all groups the "
                    f"same, or leave {name} out of hold"
                )

    def _numbers(self, params: Any) -> Any:
        """Return the number of each parameter's group."""
        marks = [
            jax.tree.map(lambda _: True, params)
            if group.on is None
            else decay_mask(group.on, "a group")(params)
            for group in self.groups
        ]

        def first(*marked: bool) -> int:
            if True not in marked:
                raise Mistake(
                    "a parameter is in no group: let the last one be the rest, Group(optimizer=…)"
                )
            return marked.index(True)

        return jax.tree.map(first, *marks)


@dataclass(frozen=True)
class Clipped:
    """Shorten an update's gradient to a length, if it is longer (Pascanu et al., arXiv 1211.5063).

    It is the mean gradient of the whole update, so that the result does not depend on how the
    update is split. Its length is over all parameters.

    Examples:
        >>> optimizer = jbatch.Clipped(jbatch.AdamW(weight_decay=0.1), norm=1.0)
    """

    optimizer: Hidden[Optimizer]
    """What takes the step."""
    norm: float = 1.0
    """The largest length, in L2."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_optimizer("optimizer", self.optimizer)
        positive("norm", self.norm)

    @property
    def parts(self) -> tuple[Optimizer, ...]:
        """What takes the step."""
        return (self.optimizer,)

    def __call__(
        self, rate: Rate, momentum: Rate = 0.0, **told: Any
    ) -> optax.GradientTransformation:
        """Return the optax transformation."""
        steps = _made(self.optimizer, rate, momentum, told)
        return optax.chain(optax.clip_by_global_norm(self.norm), steps)


class LookaheadState(NamedTuple):
    """The state of `Lookahead`."""

    inner: Any  # of the optimizer that takes the steps
    slow: Any  # like the parameters
    since: jax.Array  # float32, examples since parameters and slow ones were last the same


@dataclass(frozen=True)
class Lookahead:
    """Return to an average of the parameters every so many examples (arXiv 1907.08610).

    Parameters w are moved by the optimizer. Slow parameters s follow them: every `every` examples,
    s ← ρ·s + (1 − ρ)·w, and then w ← s. The run evaluates s. ρ = e^(−n/horizon) · progress^power
    after n examples, so the memory in examples stays the same as the batch grows. Jordan's (arXiv
    2404.00498) ρ = 0.95⁵·(t/T)³ every 5 updates of 1,024 is `every=5 * 1024, power=3` and
    `horizon=-1024 / math.log(0.95)`.

    Examples:
        >>> optimizer = jbatch.Lookahead(jbatch.SGD(nesterov=True), every=5120)
    """

    optimizer: Hidden[Optimizer]
    """What takes the steps."""
    every: int = 5120
    """Examples from one return to the next: to the nearest number of updates, and at least one."""
    horizon: float = 20_000.0
    """Examples that the slow parameters remember: those so many examples old weigh 1/e."""
    power: float = 0.0
    """ρ is multiplied by the part of the run that is over to this power; 0: it is constant."""
    start: float = 0.0
    """Part of the run, from 0 to 1, before which there is no return."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_optimizer("optimizer", self.optimizer)
        positive("every", self.every, of="a number of examples")
        positive("horizon", self.horizon, of="a number of examples")
        not_negative("power", self.power)
        share("start", self.start)

    @property
    def parts(self) -> tuple[Optimizer, ...]:
        """What takes the steps."""
        return (self.optimizer,)

    def __call__(
        self,
        rate: Rate,
        momentum: Rate = 0.0,
        *,
        batch_size: Rate = 1.0,
        progress: Rate = 0.0,
        **told: Any,
    ) -> optax.GradientTransformation:
        """Return the optax transformation."""
        given = {**told, "batch_size": batch_size, "progress": progress}
        steps = _made(self.optimizer, rate, momentum, given)
        begun = progress >= jnp.float32(self.start)

        def init(params: Any) -> LookaheadState:
            slow = jax.tree.map(jnp.array, params)  # a copy: both are donated
            return LookaheadState(steps.init(params), slow, jnp.float32(0))

        def update(gradient: Any, state: LookaheadState, params: Any) -> tuple[Any, LookaheadState]:
            step, inner = steps.update(gradient, state.inner, params)
            fast = optax.apply_updates(params, step)
            since = state.since + batch_size
            # The nearest number of updates: another half of one would be past it.
            due = since + batch_size / 2 >= self.every
            decay = jnp.exp(-since / jnp.float32(self.horizon))
            if self.power:
                decay = decay * jnp.asarray(progress, jnp.float32) ** self.power
            back = begun & due

            def followed(s: jax.Array, w: jax.Array) -> jax.Array:
                # Before the start, slow parameters are the fast ones.
                between = jnp.where(begun, s, w)
                return jnp.where(back, w + (s - w) * decay.astype(w.dtype), between)

            slow = jax.tree.map(followed, state.slow, fast)
            step = jax.tree.map(
                lambda s, w, by: jnp.where(back, s - w, by).astype(by.dtype), slow, params, step
            )
            since = jnp.where(due | ~begun, 0, since)
            return step, LookaheadState(inner, slow, since.astype(jnp.float32))

        return optax.GradientTransformation(init, update)


def slow_parameters(params: Any, optimizer_state: Any) -> Any:
    """Return the parameters, with the slow ones of each `Lookahead` in an optimizer's state."""

    def looks_ahead(part: Any) -> bool:
        return isinstance(part, LookaheadState)

    def others(part: Any) -> bool:  # of other groups, or frozen
        return isinstance(part, optax.MaskedNode)

    for part in filter(looks_ahead, jax.tree.leaves(optimizer_state, is_leaf=looks_ahead)):
        params = jax.tree.map(
            lambda slow, here: here if others(slow) else slow, part.slow, params, is_leaf=others
        )
    return params


def moved(optimizer: Optimizer, params: Mapping[str, Any]) -> set[str]:
    """Return the paths of the parameters that an optimizer ever moves.

    A function of your own is taken to move them all.

    Args:
        optimizer: which may be made of others.
        params: path → array.
    """
    if not isinstance(optimizer, Groups):
        parts = optimizer.parts if isinstance(optimizer, Clipped | Lookahead) else ()
        return set(params).intersection(*(moved(part, params) for part in parts))
    numbers, found = optimizer._numbers(params), set()
    for number, group in enumerate(optimizer.groups):
        if group.optimizer is not None and group.rate and group.until:
            own = {path: leaf for path, leaf in params.items() if numbers[path] == number}
            found |= moved(group.optimizer, own)
    return found


def _until(
    steps: optax.GradientTransformation, until: float, progress: Rate
) -> optax.GradientTransformation:
    """Return a transformation that takes no steps once a part of the run is over."""

    def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        step, after = steps.update(gradient, state, params)
        moves = progress < jnp.float32(until)
        return jax.tree.map(lambda leaf: jnp.where(moves, leaf, 0).astype(leaf.dtype), step), after

    return optax.GradientTransformation(steps.init, update)


def _made(
    optimizer: Optimizer, rate: Rate, momentum: Rate, told: dict[str, Any]
) -> optax.GradientTransformation:
    """Return a part's transformation, which is given what it takes."""
    given = {name: value for name, value in told.items() if takes(optimizer, name)}
    if isinstance(momentum, jax.Array) and takes_momentum(optimizer):
        given["momentum"] = momentum
    own = momentum if isinstance(momentum, float | int) else 0.0
    return transformation(optimizer, rate, own, held=given)


def _check_optimizer(name: str, optimizer: Callable[..., Any] | None) -> None:
    if optimizer is not None and (not callable(optimizer) or isinstance(optimizer, type)):
        raise Mistake(
            f"{name} is {shown(optimizer)}: give one of jbatch's, such as SGD(), or a function of "
            "the rate"
        )
