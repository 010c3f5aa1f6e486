"""Optimizers: values that make an optax transformation for one learning rate.

Learning rate and momentum come from the plan. jbatch makes the transformation anew in every traced
update, with that update's rate. So the rate enters where the optimizer's authors put it: LARS
scales by it before the momentum, SGD after it. The optimizer's state does not depend on the rate.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax

from jbatch.errors import Mistake, make_plain, not_negative, positive, said, share, shown

Rate = float | jax.Array  # a number, or one that a traced update is given


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with the plan's momentum if that is over 0."""

    nesterov: bool = False
    """Use Nesterov momentum."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient of all parameters except norms and biases."""

    def __post_init__(self) -> None:
        make_plain(self)
        not_negative("weight_decay", self.weight_decay)

    def __call__(self, learning_rate: Rate, momentum: float) -> optax.GradientTransformation:
        """Return the optax transformation; raise Mistake for Nesterov without momentum."""
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
    """L2 penalty, added to the gradient of all parameters except norms and biases."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_adam(self)

    def __call__(self, learning_rate: Rate, momentum: float) -> optax.GradientTransformation:
        """Return the optax transformation."""
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
    """Decoupled weight decay, times the rate, on all parameters except norms and biases."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_adam(self)

    def __call__(self, learning_rate: Rate, momentum: float) -> optax.GradientTransformation:
        """Return the optax transformation."""
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
    """η: multiplies each layer's own rate, the ratio of parameter norm to gradient norm."""
    weight_decay: float = 1e-4
    """L2 penalty on all parameters except norms and biases, which also keep the plain rate."""
    nesterov: bool = False
    """Use Nesterov momentum."""

    def __post_init__(self) -> None:
        make_plain(self)
        positive("trust_coefficient", self.trust_coefficient)
        not_negative("weight_decay", self.weight_decay)

    def __call__(self, learning_rate: Rate, momentum: float) -> optax.GradientTransformation:
        """Return the optax transformation; raise Mistake for Nesterov without momentum."""
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
    """Decoupled weight decay on all parameters except norms and biases."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_adam(self)

    def __call__(self, learning_rate: Rate, momentum: float) -> optax.GradientTransformation:
        """Return the optax transformation."""
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
    """Steps by the gradient's signs alone, for full batches (Riedmiller and Braun, 1993).

    A weight's step grows while its gradient keeps its sign, and shrinks when the sign changes. The
    plan's rate multiplies all steps: a rate of 1 leaves them as they are. In optax, each update
    takes the step found with the previous gradient.
    """

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

    def __call__(self, learning_rate: Rate, momentum: float) -> optax.GradientTransformation:
        """Return the optax transformation; raise Mistake with momentum, which Rprop lacks."""
        if momentum:
            raise Mistake(f"plan.momentum is {momentum:g}, but Rprop has no momentum: set it to 0")
        steps = optax.scale_by_rprop(
            self.initial_step, self.shrink, self.grow, self.smallest_step, self.largest_step
        )
        return optax.chain(steps, optax.scale(-learning_rate))


# A function of (rate, momentum), or of the rate alone, that returns an optax transformation. All of
# the above are such functions.
Optimizer = Callable[..., optax.GradientTransformation]


def named(tree: Any) -> list[tuple[str, Any]]:
    """Return every array of a tree with its path, such as "layers.0.kernel"."""
    return [
        (".".join(jax.tree_util.keystr((key,), simple=True) for key in path), leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]


def begins(path: str, beginning: str) -> bool:
    """Return whether a path is, or is below, another: "layers.0.kernel" and "layers"."""
    return path == beginning or path.startswith(f"{beginning}.")


def transformation(
    optimizer: Optimizer, rate: Rate, momentum: float, frozen: Sequence[str] = ()
) -> optax.GradientTransformation:
    """Return the optax transformation of an optimizer for one rate.

    Args:
        optimizer: a function of (rate, momentum), or of the rate alone.
        rate: of one update; traced.
        momentum: the plan's, known when the update is traced.
        frozen: paths, or beginnings of paths, of parameters that stay as they are.

    Raises:
        Mistake: if the optimizer returns something else.
    """
    given = (rate, momentum) if takes_momentum(optimizer) else (rate,)
    try:
        made = optimizer(*given)
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


def takes_momentum(optimizer: Optimizer) -> bool:
    """Return whether an optimizer is a function of the plan's momentum too."""
    try:
        parameters = inspect.signature(optimizer).parameters.values()
    except (TypeError, ValueError):
        return False
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in by_place and p.default is p.empty]
    return len(required) > 1


def decayed(params: Any) -> Any:
    """Mark the parameters that weight decay applies to: not norms and biases.

    Those have one axis, or are called bias or scale: a scan over layers stacks them to two.
    """

    def one(path: tuple[Any, ...], leaf: Any) -> bool:
        name = str(getattr(path[-1], "key", "")) if path else ""
        return leaf.ndim > 1 and name not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(one, params)


def _with_l2(
    weight_decay: float, transformation: optax.GradientTransformation
) -> optax.GradientTransformation:
    if not weight_decay:
        return transformation
    return optax.chain(optax.add_decayed_weights(weight_decay, mask=decayed), transformation)


def _check_nesterov(nesterov: bool, momentum: float) -> None:
    if nesterov and not momentum:
        raise Mistake("nesterov needs momentum, but plan.momentum is 0: set it, for example to 0.9")


def _check_adam(optimizer: Adam | AdamW | LAMB) -> None:
    share("b2", optimizer.b2)
    positive("eps", optimizer.eps)
    not_negative("weight_decay", optimizer.weight_decay)
