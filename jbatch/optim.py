"""Optimizers: values that make an optax transformation for one learning rate.

Learning rate and momentum come from the plan, which may leave momentum to the optimizer. jbatch
makes the transformation anew in every traced update, with that update's rate, and with what follows
the batch. So the rate enters where the optimizer's authors put it: LARS scales by it before the
momentum, SGD after it. The optimizer's state depends on none of these values.
"""

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import optax

from jbatch.errors import Mistake, make_plain, not_negative, positive, said, share, shown
from jbatch.hidden import Hidden
from jbatch.moments import scale_by_adam
from jbatch.parameters import DecayOn, begins, decay_mask, decayed, named
from jbatch.plan.hold import Values

Rate = float | jax.Array  # a number, or one that a traced update is given


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with the plan's momentum if that is over 0."""

    own_momentum: ClassVar[float] = 0.0
    nesterov: bool = False
    """Use Nesterov momentum."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient; by default of all parameters except norms and biases."""
    decay_on: Hidden[DecayOn] = field(default=None, kw_only=True)
    """What decays: parameters by path, or a function of (path, array); None: see weight_decay."""

    def __post_init__(self) -> None:
        make_plain(self)
        not_negative("weight_decay", self.weight_decay)

    def __call__(
        self, learning_rate: Rate, momentum: Rate, *, weight_decay: Rate | None = None
    ) -> optax.GradientTransformation:
        """Return the optax transformation; raise Mistake for Nesterov without momentum."""
        momentum = _accumulated(momentum, "SGD")
        _check_nesterov(self.nesterov, momentum)
        sgd = optax.sgd(learning_rate, momentum or None, nesterov=self.nesterov)
        return _with_l2(_or(weight_decay, self.weight_decay), self.decay_on, sgd)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980); β1 is the plan's momentum, or else 0.9."""

    own_momentum: ClassVar[float] = 0.9
    b2: float = 0.999
    """Decay of the second moment per update."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient; by default of all parameters except norms and biases."""
    decay_on: Hidden[DecayOn] = field(default=None, kw_only=True)
    """What decays: parameters by path, or a function of (path, array); None: see weight_decay."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_adam(self)

    def __call__(
        self,
        learning_rate: Rate,
        momentum: Rate,
        *,
        b2: Rate | None = None,
        eps: Rate | None = None,
    ) -> optax.GradientTransformation:
        """Return the optax transformation; b2 and eps take the place of the fields."""
        adam = scale_by_adam(momentum, _or(b2, self.b2), _or(eps, self.eps))
        step = optax.chain(adam, optax.scale_by_learning_rate(learning_rate))
        return _with_l2(self.weight_decay, self.decay_on, step)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

    own_momentum: ClassVar[float] = 0.9
    b2: float = 0.999
    """Decay of the second moment per update."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 1e-4
    """Decoupled weight decay, times the rate; by default on all except norms and biases."""
    decay_on: Hidden[DecayOn] = field(default=None, kw_only=True)
    """What decays: parameters by path, or a function of (path, array); None: see weight_decay."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_adam(self)

    def __call__(
        self,
        learning_rate: Rate,
        momentum: Rate,
        *,
        b2: Rate | None = None,
        eps: Rate | None = None,
        weight_decay: Rate | None = None,
    ) -> optax.GradientTransformation:
        """Return the optax transformation; b2, eps, weight_decay take the place of the fields."""
        return optax.chain(
            *_adam_and_decay(self, momentum, b2, eps, weight_decay),
            optax.scale_by_learning_rate(learning_rate),
        )


@dataclass(frozen=True)
class LARS:
    """Layer-wise adaptive rate scaling (You et al., arXiv 1708.03888), with momentum."""

    own_momentum: ClassVar[float] = 0.9
    trust_coefficient: float = 0.001
    """η: multiplies each layer's own rate, the ratio of parameter norm to gradient norm."""
    weight_decay: float = 1e-4
    """L2 penalty; by default on all except norms and biases, which also keep the plain rate."""
    nesterov: bool = False
    """Use Nesterov momentum."""
    decay_on: Hidden[DecayOn] = field(default=None, kw_only=True)
    """What decays: parameters by path, or a function of (path, array); None: see weight_decay."""

    def __post_init__(self) -> None:
        make_plain(self)
        positive("trust_coefficient", self.trust_coefficient)
        not_negative("weight_decay", self.weight_decay)

    def __call__(self, learning_rate: Rate, momentum: Rate) -> optax.GradientTransformation:
        """Return the optax transformation; raise Mistake for Nesterov without momentum."""
        momentum = _accumulated(momentum, "LARS")
        _check_nesterov(self.nesterov, momentum)
        return optax.lars(
            learning_rate,
            weight_decay=self.weight_decay,
            weight_decay_mask=decay_mask(self.decay_on),
            trust_coefficient=self.trust_coefficient,
            trust_ratio_mask=decayed,
            momentum=momentum,
            nesterov=self.nesterov,
        )


@dataclass(frozen=True)
class LAMB:
    """Layer-wise adaptive moments (You et al., arXiv 1904.00962); β1 is the plan's, or else 0.9."""

    own_momentum: ClassVar[float] = 0.9
    b2: float = 0.999
    """Decay of the second moment per update."""
    eps: float = 1e-6
    """Added to the root of the second moment."""
    weight_decay: float = 1e-4
    """Decoupled weight decay; by default on all parameters except norms and biases."""
    decay_on: Hidden[DecayOn] = field(default=None, kw_only=True)
    """What decays: parameters by path, or a function of (path, array); None: see weight_decay."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_adam(self)

    def __call__(
        self,
        learning_rate: Rate,
        momentum: Rate,
        *,
        b2: Rate | None = None,
        eps: Rate | None = None,
        weight_decay: Rate | None = None,
    ) -> optax.GradientTransformation:
        """Return the optax transformation; b2, eps, weight_decay take the place of the fields."""
        return optax.chain(
            *_adam_and_decay(self, momentum, b2, eps, weight_decay),
            optax.scale_by_trust_ratio(),
            optax.scale_by_learning_rate(learning_rate),
        )


@dataclass(frozen=True)
class Rprop:
    """Steps by the gradient's signs alone, for full batches (Riedmiller and Braun, 1993).

    A weight's step grows while its gradient keeps its sign, and shrinks when the sign changes. The
    plan's rate multiplies all steps: a rate of 1 leaves them as they are. In optax, each update
    takes the step found with the previous gradient.
    """

    own_momentum: ClassVar[float] = 0.0
    initial_step: float = 1e-3
    """Every weight's first step."""
    shrink: float = 0.5
    """η−: multiplies the step when the gradient changes its sign."""
    grow: float = 1.2
    """η+: multiplies the step when the gradient keeps its sign."""
    smallest_step: float = 1e-6
    """Lower limit of a step."""
    largest_step: float = 50.0
    """Upper limit of a step."""

    def __post_init__(self) -> None:
        make_plain(self)
        if not 0 < self.shrink < 1 < self.grow < math.inf:
            raise Mistake(
                f"shrink is {self.shrink} and grow is {self.grow}: give shrink between "
                "0 and 1, and grow over 1"
            )
        if not 0 < self.smallest_step <= self.initial_step <= self.largest_step < math.inf:
            raise Mistake(
                f"smallest_step is {self.smallest_step:g}, initial_step {self.initial_step:g} and "
                f"largest_step {self.largest_step:g}: give values over 0, the three in ascending "
                "order"
            )

    def __call__(self, learning_rate: Rate, momentum: Rate) -> optax.GradientTransformation:
        """Return the optax transformation; raise Mistake with momentum, which Rprop lacks."""
        if momentum := _accumulated(momentum, "Rprop"):
            raise Mistake(f"plan.momentum is {momentum:g}, but Rprop has no momentum: set it to 0")
        steps = optax.scale_by_rprop(
            self.initial_step, self.shrink, self.grow, self.smallest_step, self.largest_step
        )
        return optax.chain(steps, optax.scale(-learning_rate))


# A function of (rate, momentum), or of the rate alone, that returns an optax transformation. What
# the plan's `hold` changes is given by name: b2, eps, weight_decay. So is what it `asks` for. All
# of the above are such. One that is made of others names them as its `parts`.
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


def _with_l2(
    weight_decay: Rate, decay_on: DecayOn, transformation: optax.GradientTransformation
) -> optax.GradientTransformation:
    # With decay_on, a decay of 0 is added too, so that a path that names nothing is refused.
    if not isinstance(weight_decay, jax.Array) and not weight_decay and decay_on is None:
        return transformation
    l2 = optax.add_decayed_weights(weight_decay, decay_mask(decay_on))
    return optax.chain(l2, transformation)


def _adam_and_decay(
    optimizer: AdamW | LAMB,
    momentum: Rate,
    b2: Rate | None,
    eps: Rate | None,
    weight_decay: Rate | None,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    decay = _or(weight_decay, optimizer.weight_decay)
    return (
        scale_by_adam(momentum, _or(b2, optimizer.b2), _or(eps, optimizer.eps)),
        optax.add_decayed_weights(decay, decay_mask(optimizer.decay_on)),
    )


def _or(value: Rate | None, own: float) -> Rate:
    return own if value is None else value


def _accumulated(momentum: Rate, name: str) -> float:
    """Return the momentum of an optimizer that adds gradients up; raise Mistake if it changes."""
    if isinstance(momentum, jax.Array):
        raise Mistake(
            f"hold makes momentum follow the batch, but {name} adds gradients up with weights that "
            "sum to 1/(1−m), so its steps would change too: leave momentum out of hold. The β1 of "
            "Adam, AdamW and LAMB may follow"
        )
    return momentum


def _check_nesterov(nesterov: bool, momentum: float) -> None:
    if nesterov and not momentum:
        raise Mistake("nesterov needs momentum, but plan.momentum is 0: set it, for example to 0.9")


def _check_adam(optimizer: Adam | AdamW | LAMB) -> None:
    share("b2", optimizer.b2)
    positive("eps", optimizer.eps)
    not_negative("weight_decay", optimizer.weight_decay)
