"""Whether two ways to compute an update differ by more than rounding.

Splits add the same numbers in another order, so what they compute differs by rounding alone. How
much rounding changes is measured: every parameter is moved by some roundings, and the update is
computed again. A smooth network's gradient moves by a little more than that. In a deep network some
inputs of ReLUs are closer to 0 than rounding, change sign, and move the gradient a thousand times
as much. A fault moves it by more: half of a group's statistics, another key or a mean of means by
tenths of itself.

Parameters after an update would be a poor measure: Adam divides the gradient by its size, and so
turns a gradient of pure rounding into a full step.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jbatch.optimizer import Optimizer, Rate, transformation
from jbatch.step.pure import State, exact
from jbatch.task.base import Learner, Tree

# Roundings by which each parameter is moved. Splits round in every layer, and a move of one would
# miss the few inputs of ReLUs that one split happens to change. WRN-16-4 on 64 images: splits
# differ by 2e-6 to 3e-3, a move by 1 rounding gives up to 4e-3 and one by 64 gives 6e-3 to 1e-2;
# multilayer perceptrons: 1e-7, 4e-7 and 2e-5.
ROUNDINGS = 64
# How many times as much a split may change. It changes the sign of other inputs of ReLUs than the
# move, by chance more. In half precision any move changes all roundings, of which a split changes
# some: WRN-16-4 in bfloat16 differs by 8e-3, and a move gives 2e-1.
MARGIN, MARGIN_OF_HALF = 4.0, 1.0
# Least shares of an array's own norm that are rounding: of sums of up to millions of numbers in
# float32, and of single numbers of 8 bits in bfloat16.
LEAST, LEAST_OF_HALF = 1e-4, 2e-2
# Of the whole gradient's norm: the least that an array's gradient is measured against. One whose
# terms cancel is nothing but rounding.
CANCELLED = 1e-2
LOST = 0.5  # a gradient that changes by so much of itself with rounding is nothing but rounding
STEPPED = 1e-2  # of the largest step: so large a step is one that training notices

Floats = npt.NDArray[Any]  # float64 or complex128 where numbers are compared


class Seen(NamedTuple):
    """The state of `Observed`."""

    optimizer: Any  # of the optimizer that takes the steps
    gradient: Tree  # the mean over the last update


@dataclass(frozen=True)
class Observed:
    """An optimizer that also keeps the gradient of the last update."""

    optimizer: Optimizer
    momentum: float
    frozen: tuple[str, ...]

    def __call__(self, rate: Rate, **held: Rate) -> optax.GradientTransformation:
        """Return the optax transformation; `held` are the values that follow the batch."""
        own = transformation(self.optimizer, rate, self.momentum, self.frozen, held)

        def init(params: Any) -> Any:
            return Seen(own.init(params), jax.tree.map(jnp.zeros_like, params))

        def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            steps, optimizer = own.update(gradient, state.optimizer, params)
            return steps, Seen(optimizer, gradient)

        return optax.GradientTransformation(init, update)


def observed(learner: Learner) -> Learner:
    """Return a learner like another, whose state holds the gradient of its last update."""
    optimizer = Observed(learner.optimizer, learner.momentum, learner.frozen)
    return learner._replace(optimizer=optimizer, frozen=())


def moved(state: State) -> State:
    """Return a state with every parameter moved up or down by some roundings."""
    draw = np.random.default_rng(0)

    def one(leaf: Floats) -> Floats:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        its = float(jnp.finfo(leaf.dtype).eps)  # type: ignore[no-untyped-call]
        by = max(ROUNDINGS * 2.0**-23, its) * draw.choice((-1.0, 1.0), leaf.shape)
        return np.asarray(_wide(leaf) * (1 + by)).astype(leaf.dtype)

    return state._replace(params=jax.tree.map(one, state.params))


@dataclass(frozen=True)
class Difference:
    """What differs between two ways to compute an update, most of all."""

    share: float  # of the array's size
    allowed: float  # what rounding explains, of the same
    where: str

    @property
    def ratio(self) -> float:
        """By how much it exceeds what rounding explains."""
        return self.share / self.allowed


def difference(whole: State, other: State, rounded: State, half: bool) -> Difference:
    """Compare gradient, state and scores of an update that was computed twice from one state.

    Args:
        whole: after the update; of an `observed` learner.
        other: after the same update, computed in another way.
        rounded: after the same update of `moved` parameters.
        half: whether the update computes in half precision.

    Returns:
        The difference that exceeds what rounding explains by most, or comes nearest to it.
    """
    least, margin = (LEAST_OF_HALF, MARGIN_OF_HALF) if half else (LEAST, MARGIN)
    found = []
    here, there, then = (_gradient(state) for state in (whole, other, rounded))
    cancelled = CANCELLED * _norm(np.array([_norm(leaf) for leaf in here.values()]))
    for name, leaf in here.items():
        size = max(_norm(leaf), cancelled)
        what = f"the gradient of {name}"
        by_rounding = margin * _norm(then[name] - leaf) + least * size
        found.append(_differs(what, there[name] - leaf, size, by_rounding))
    here, there, then = (_beside(state) for state in (whole, other, rounded))
    for name, leaf in here.items():
        size = _norm(leaf)
        by_rounding = margin * _norm(then[name] - leaf) + least * size
        if half and np.array_equal(leaf, np.round(leaf)):  # counts, of close calls too
            by_rounding += 3 * float(np.sqrt(LEAST_OF_HALF * max(size, 1)))
        found.append(_differs(name, there[name] - leaf, size, by_rounding))
    return max(found, key=lambda each: each.ratio)


def rounding_steps(
    whole: State, rounded: State, before: State, moved: State, half: bool
) -> str | None:
    """Return the path of a parameter that takes large steps by rounding alone, None if none does.

    Args:
        whole: after an update from `before`; of an `observed` learner.
        rounded: after the same update from `moved`.
        before: the state before the update.
        moved: the same with parameters moved by some roundings.
        half: whether the update computes in half precision.
    """
    steps = {name: leaf - _params(before)[name] for name, leaf in _params(whole).items()}
    others = {name: leaf - _params(moved)[name] for name, leaf in _params(rounded).items()}
    largest = max(float(np.abs(step).max(initial=0)) for step in steps.values())
    here, there = _gradient(whole), _gradient(rounded)
    whole_norm = _norm(np.array([_norm(leaf) for leaf in here.values()]))
    for name, gradient in here.items():
        small = _norm(gradient) < (LEAST_OF_HALF if half else LEAST) * whole_norm
        lost = _norm(there[name] - gradient) > LOST * _norm(gradient)
        apart = float(np.abs(others[name] - steps[name]).max(initial=0))
        if small and lost and apart > STEPPED * largest:
            return name
    return None


def _differs(what: str, apart: Floats, size: float, by_rounding: float) -> Difference:
    size = size or 1.0
    share = _norm(apart) / size
    return Difference(
        share if np.isfinite(share) else float("inf"), max(by_rounding / size, 1e-300), what
    )


def _norm(leaf: Floats) -> float:
    return float(np.sqrt(np.sum(np.square(np.abs(leaf)))))


def _params(state: State) -> dict[str, Floats]:
    return _named(state.params)


def _gradient(state: State) -> dict[str, Floats]:
    return _named(state.optimizer.gradient)


def _beside(state: State) -> dict[str, Floats]:
    scores = {f"score{name}": leaf for name, leaf in _named(exact(state.totals)).items()}
    return scores | {f"state{name}": leaf for name, leaf in _named(state.stats).items()}


def _named(tree: Tree) -> dict[str, Floats]:
    return {
        jax.tree_util.keystr(path): _wide(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _wide(leaf: Any) -> Floats:
    return np.asarray(leaf, np.complex128 if np.iscomplexobj(leaf) else np.float64)
