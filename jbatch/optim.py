"""Optimizers: values that make an optax transformation for one learning rate.

Learning rate and momentum come from the plan, which may leave momentum to the optimizer. jbatch
makes the transformation anew in every traced update, with that update's rate, and with what follows
the batch. So the rate enters where the optimizer's authors put it: LARS scales by it before the
momentum, SGD after it. The optimizer's state depends on none of these values.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import optax

from jbatch.errors import Mistake, make_plain, not_negative, positive, share
from jbatch.hidden import Hidden
from jbatch.moments import scale_by_adam
from jbatch.optimizer import Rate
from jbatch.parameters import DecayOn, decay_mask, decayed


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with the plan's momentum if that is over 0.

    Examples:
        >>> optimizer = jbatch.SGD(nesterov=True, weight_decay=5e-4)
    """

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
    """Adam (Kingma and Ba, arXiv 1412.6980); β1 is the plan's momentum, or else 0.9.

    Examples:
        >>> optimizer = jbatch.Adam(b2=0.99)
    """

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
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101).

    Examples:
        >>> optimizer = jbatch.AdamW(weight_decay=0.1, decay_on=("layers",))
    """

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
    """Layer-wise adaptive rate scaling (You et al., arXiv 1708.03888), with momentum.

    Examples:
        >>> optimizer = jbatch.LARS(trust_coefficient=0.002)
    """

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
    """Layer-wise adaptive moments (You et al., arXiv 1904.00962); β1 is the plan's, or else 0.9.

    Examples:
        >>> optimizer = jbatch.LAMB(weight_decay=0.01)
    """

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

    Examples:
        >>> optimizer = jbatch.Rprop(largest_step=1.0)
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
