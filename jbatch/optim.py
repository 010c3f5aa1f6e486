"""Optimizers, as values that make an optax transformation for one learning rate.

The rate and the momentum are the plan's. A transformation is made anew in every traced update with
the update's rate, so that each stands where its authors put the rate (LARS scales by it before the
momentum, SGD after it); its state does not depend on the rate.
"""

import math
from dataclasses import dataclass

import jax
import optax

from jbatch.errors import Mistake, make_plain, not_negative, positive, share


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; with the plan's momentum, if that is over 0."""

    nesterov: bool = False
    """Look ahead along the momentum."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient of all but norms and biases."""

    def __post_init__(self):
        make_plain(self)
        not_negative("weight_decay", self.weight_decay)

    def transformation(self, learning_rate, momentum: float) -> optax.GradientTransformation:
        """The optax transformation; Mistake for Nesterov without momentum."""
        _check_nesterov(self.nesterov, momentum)
        sgd = optax.sgd(learning_rate, momentum or None, nesterov=self.nesterov)
        return _with_l2(self.weight_decay, sgd)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980); β1 is the plan's momentum."""

    b2: float = 0.999
    """Decay of the second moment per update."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient of all but norms and biases."""

    def __post_init__(self):
        make_plain(self)
        _check_adam(self)

    def transformation(self, learning_rate, momentum: float) -> optax.GradientTransformation:
        """The optax transformation."""
        return _with_l2(
            self.weight_decay, optax.adam(learning_rate, b1=momentum, b2=self.b2, eps=self.eps)
        )


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

    b2: float = 0.999
    """Decay of the second moment per update."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 1e-4
    """Pull towards 0 per unit of rate, on all but norms and biases."""

    def __post_init__(self):
        make_plain(self)
        _check_adam(self)

    def transformation(self, learning_rate, momentum: float) -> optax.GradientTransformation:
        """The optax transformation."""
        return optax.adamw(
            learning_rate,
            b1=momentum,
            b2=self.b2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            mask=decayed,
        )


@dataclass(frozen=True)
class LARS:
    """Layer-wise adaptive rate scaling (You et al., arXiv 1708.03888), with momentum."""

    trust_coefficient: float = 0.001
    """Trust in a layer's own rate."""
    weight_decay: float = 1e-4
    """L2 penalty on all but norms and biases, which keep the plain rate."""
    nesterov: bool = False
    """Look ahead along the momentum."""

    def __post_init__(self):
        make_plain(self)
        positive("trust_coefficient", self.trust_coefficient)
        not_negative("weight_decay", self.weight_decay)

    def transformation(self, learning_rate, momentum: float) -> optax.GradientTransformation:
        """The optax transformation; Mistake for Nesterov without momentum."""
        _check_nesterov(self.nesterov, momentum)
        return optax.lars(
            learning_rate,
            weight_decay=self.weight_decay,
            weight_decay_mask=decayed,
            trust_coefficient=self.trust_coefficient,
            trust_ratio_mask=decayed,
            momentum=momentum,
            nesterov=self.nesterov,
        )


@dataclass(frozen=True)
class LAMB:
    """Layer-wise adaptive moments (You et al., arXiv 1904.00962); β1 is the plan's momentum."""

    b2: float = 0.999
    """Decay of the second moment per update."""
    eps: float = 1e-6
    """Added to the root of the second moment."""
    weight_decay: float = 1e-4
    """Pull towards 0 on all but norms and biases."""

    def __post_init__(self):
        make_plain(self)
        _check_adam(self)

    def transformation(self, learning_rate, momentum: float) -> optax.GradientTransformation:
        """The optax transformation."""
        return optax.lamb(
            learning_rate,
            b1=momentum,
            b2=self.b2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            mask=decayed,
        )


@dataclass(frozen=True)
class Rprop:
    """Steps by the signs of the gradient alone (Riedmiller and Braun, 1993), for full batches.

    A weight's step grows while its gradient keeps its sign, and shrinks where that changes. The
    plan's rate multiplies all steps: 1 leaves them as they are. As optax has it, each update takes
    the step that the gradient before it found.
    """

    initial_step: float = 1e-3
    """Of every weight."""
    shrink: float = 0.5
    """η−, times the step where the gradient changes its sign."""
    grow: float = 1.2
    """η+, times the step where it keeps it."""
    smallest_step: float = 1e-6
    """Never under this."""
    largest_step: float = 50.0
    """Never over this."""

    def __post_init__(self):
        make_plain(self)
        if not 0 < self.shrink < 1 < self.grow < math.inf:
            raise Mistake(
                f"shrink is {self.shrink} and grow {self.grow}: give one from 0 to 1 and one over 1"
            )
        if not 0 < self.smallest_step <= self.initial_step <= self.largest_step < math.inf:
            raise Mistake(
                f"steps of {self.smallest_step:g}, {self.initial_step:g} and "
                f"{self.largest_step:g}: give smallest_step, initial_step and largest_step over 0 "
                "in that order"
            )

    def transformation(self, learning_rate, momentum: float) -> optax.GradientTransformation:
        """The optax transformation; Mistake with momentum, of which Rprop has none."""
        if momentum:
            raise Mistake(f"plan.momentum is {momentum:g} and Rprop has none: set it to 0")
        steps = optax.scale_by_rprop(
            self.initial_step, self.shrink, self.grow, self.smallest_step, self.largest_step
        )
        return optax.chain(steps, optax.scale(-learning_rate))


Optimizer = SGD | Adam | AdamW | LARS | LAMB | Rprop


def decayed(params):
    """Which parameters weight decay applies to: all but norms and biases, which have one axis."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _with_l2(weight_decay: float, transformation) -> optax.GradientTransformation:
    if not weight_decay:
        return transformation
    return optax.chain(optax.add_decayed_weights(weight_decay, mask=decayed), transformation)


def _check_nesterov(nesterov: bool, momentum: float) -> None:
    if nesterov and not momentum:
        raise Mistake("nesterov needs momentum and plan.momentum is 0: set it, as to 0.9")


def _check_adam(optimizer: Adam | AdamW | LAMB) -> None:
    share("b2", optimizer.b2)
    positive("eps", optimizer.eps)
    not_negative("weight_decay", optimizer.weight_decay)
