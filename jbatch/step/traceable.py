"""Trace an update before anything is compiled, and say in one message why it cannot be traced."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jbatch
from jbatch.data.batch import Batch
from jbatch.errors import Mistake, said
from jbatch.plan.layout import one_group
from jbatch.step import pure
from jbatch.step.pure import State
from jbatch.task.base import Learner
from jbatch.upstream_words import STATE_DIFFERS, UNBOUND_AXIS

OURS = Path(jbatch.__file__).parent


def check_learner(learner: Learner) -> None:
    """Trace the initial state, one group's scores, and the optimizer's step.

    Raises:
        Mistake: if one fails, which names the line of a person's code where it did.
    """
    one = f"it is called with one example, without a batch axis: {learner.example}"
    with _told("the task", one):
        state = pure.state_shapes(learner)
        _check_parameters(state.params)
        pure.no_totals(learner)
        with jax.enable_x64(False):
            jax.eval_shape(partial(_whole, learner), state)
    with _told("the optimizer"), jax.numpy_dtype_promotion("standard"):
        optimizer = pure.optimizer_of(learner, 0.0)
        try:
            steps, after = jax.eval_shape(
                optimizer.update, state.params, state.optimizer, state.params
            )
        except TypeError as error:
            if "update" not in said(error) and "missing" not in said(error):
                raise
            raise Mistake(
                f"the optimizer wants more than gradient, state and parameters ({said(error)}): "
                "jbatch has one gradient for each update, and no loss to search along. Give "
                "another; a plan's schedule takes the place of reduce_on_plateau"
            ) from error
        del steps
    for part in jax.tree.leaves(state.optimizer, is_leaf=_accumulates):
        if _accumulates(part):
            raise Mistake(
                "the optimizer accumulates gradients itself (optax.MultiSteps): take that off. "
                "jbatch accumulates an update over passes as micro_batch says, and the plan says "
                "how many examples an update has"
            )
    if _kinds(after) != _kinds(state.optimizer):
        raise Mistake(
            "the optimizer's state changes its shapes or dtypes from one update to the next: "
            "give its parts a fixed dtype, as in optax.adam(…, mu_dtype=jnp.float32)"
        )


def _whole(learner: Learner, state: State) -> Any:
    """Take the gradient of a group's loss, and score an evaluation."""
    layout = one_group(learner.task.group)
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), layout.size)
    sums = pure.gather(learner, layout, state, Batch(learner.example.zeros(layout.size), keys))
    params, stats = pure.evaluated(learner, state)[""]
    size = learner.task.evaluation_group
    batch = Batch(learner.example.zeros(size), None)
    return sums, learner.task.evaluate(params, stats, batch, jnp.ones(size, bool))


def _accumulates(part: Any) -> bool:
    return isinstance(part, optax.MultiStepsState)


def _kinds(tree: Any) -> list[tuple[Any, ...]]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _check_parameters(params: Any) -> None:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    if not leaves:
        raise Mistake("the task has no parameters to train: return some from init")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise Mistake(
                f"the parameter {jax.tree_util.keystr(path)} is {leaf.dtype}, which has no "
                "gradient: keep it in the state, or make it a float"
            )


@contextmanager
def _told(what: str, given: str = "") -> Iterator[None]:
    """Turn an error of a person's code into a Mistake: its line, and what it was given."""
    try:
        yield
    except Mistake as mistake:
        if where := _line(mistake):  # of one of our functions that the person's code calls
            raise Mistake(f"{what}{where}: {mistake}") from mistake
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {said(error)}"
        where = _line(error)
        if STATE_DIFFERS in text:
            raise Mistake(
                f"{what}{where}: the examples of a group leave different states. Average what "
                'they leave: jax.lax.pmean(x, "group"), or BatchNorm(axis_name="group")'
            ) from error
        if UNBOUND_AXIS in text and "group" in text:
            raise Mistake(
                f'{what}{where} uses the axis "group", but no examples see each other: give the '
                "task a group, the number of examples that share statistics"
            ) from error
        raise Mistake(f"{what} fails{where}: {text}{given and f' ({given})'}") from error


def _line(error: BaseException) -> str:
    """Name the last line of the person's own code that an error came through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" not in path.parts and OURS not in path.parents and path.suffix == ".py":
            if "lib" in path.parts and any(part.startswith("python3") for part in path.parts):
                continue  # Python's own
            return f" ({path}, line {frame.lineno})"
    return ""
