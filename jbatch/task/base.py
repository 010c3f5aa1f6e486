"""What jbatch trains: a task scores one example; jbatch maps, sums and divides."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbatch.composed import slow_parameters
from jbatch.data.about import About
from jbatch.data.batch import Batch, Example, Spec
from jbatch.errors import Mistake, shown, whole
from jbatch.optimizer import Optimizer
from jbatch.plan.layout import Layout
from jbatch.task import one_example

Tree = Any  # a pytree of arrays, as nested dicts

# Name → (sum over examples, sum of their weights): float32 scalars, or pytrees of arrays that
# `finish` understands. "loss" is always there, and is two scalars.
ScoreSums = dict[str, tuple[Any, Any]]


class Scores(NamedTuple):
    """The scores of one example.

    Examples:
        >>> scores = jbatch.Scores(loss=6.0, weight=3, metrics={"accuracy": (2, 3)})
    """

    loss: jax.Array
    """Scalar: a sum, over the example's tokens, its boxes, or itself."""
    weight: jax.Array | float = 1.0
    """Scalar, what the summed loss is divided by, such as its number of tokens."""
    metrics: Mapping[str, Any] = {}
    """Name → scalar, which counts 1; or name → (sum, weight)."""


class Task:
    """What is trained. Derive a frozen dataclass from it: its fields become flags.

    Two methods are a task: `init` and `score`, which sees one example. jbatch maps it over the
    examples of each pass and adds up. All scores are sums and are divided once, by the update's
    summed weight, so the result does not depend on how an update is split.

    With a `group` of g, examples [0, g), [g, 2g), … of each update see each other: within `score`
    collectives over the axis "group" work, such as `jax.lax.pmean(x, "group")` or flax's
    `BatchNorm(axis_name="group")`.

    Examples:
        >>> from dataclasses import dataclass
        >>> import jax.numpy as jnp
        >>> @dataclass(frozen=True)
        ... class Line(jbatch.Task):
        ...     penalty: float = 0.0
        ...
        ...     def init(self, key, example):
        ...         return {"slope": jnp.zeros(())}, {}
        ...
        ...     def score(self, params, state, example, key):
        ...         error = params["slope"] * example["x"] - example["y"]
        ...         loss = error**2 + self.penalty * params["slope"] ** 2
        ...         return jbatch.Scores(loss, metrics={"absolute_error": jnp.abs(error)}), state
    """

    group: int | None = None
    """g: examples of an update that see each other; None if none do."""

    @property
    def normalization(self) -> dict[str, Any]:
        """How the input is normalized, as JSON, for programs without jbatch; {} if it is not."""
        return {}

    @property
    def frozen(self) -> tuple[str, ...]:
        """Paths, or beginnings of paths, of parameters that no optimizer moves."""
        return ()

    def fitted(self, about: About) -> "Task":
        """Return the task for a dataset, such as one with as many outputs as classes."""
        del about
        return self

    def at(self, batch_size: int) -> "Task":
        """Return the task of updates of a batch size, with the same parameters; by default itself.

        So a phase may have images of its own size. Evaluations are of the task itself.
        """
        del batch_size
        return self

    def check(self, what: str, examples: Example) -> None:
        """Raise Mistake if examples cannot be scored, such as for a label that is no class.

        Args:
            what: their name in messages.
            examples: arrays with a leading axis over examples.
        """

    def init(self, key: jax.Array, example: Example) -> tuple[Tree, Tree]:
        """Return the initial (parameters, state).

        Args:
            key: random key.
            example: one example after `prepare`, all zeros.
        """
        raise _missing(self, "init(key, example), which returns (parameters, state)")

    def prepare(self, example: Example, key: jax.Array | None) -> Example:
        """Return an example as `score` wants it: augmented and normalized, on the device.

        Args:
            example: one example of the dataset.
            key: random key of the example's position in the run; None in evaluation.
        """
        del key
        return example

    def whole(self, batch: Batch) -> Batch:
        """Return this device's examples of a training pass before they are mapped, on the device.

        Only what an example's position or number decides may change it.
        """
        return batch

    def score(
        self, params: Tree, state: Tree, example: Example, key: jax.Array | None
    ) -> tuple[Scores, Tree]:
        """Return one example's scores, and the state that its group leaves.

        Args:
            params: parameters.
            state: what is kept beside them, such as running statistics.
            example: one example after `prepare`.
            key: random key of the example's position in the run; None in evaluation.
        """
        raise _missing(self, "score(params, state, example, key), which returns (Scores, state)")

    def evaluated(self, params: Tree, optimizer_state: Any) -> Tree:
        """Return the parameters to evaluate, such as an average that the optimizer keeps.

        By default they are as they are, or those of optax's schedule-free optimizers, or the slow
        ones of `Lookahead`.
        """
        from optax import contrib  # here: plans do not need it

        def schedule_free(part: Any) -> bool:
            return isinstance(part, contrib.ScheduleFreeState)

        for part in jax.tree.leaves(optimizer_state, is_leaf=schedule_free):
            if schedule_free(part):
                return contrib.schedule_free_eval_params(part, params)
        return slow_parameters(params, optimizer_state)

    def predict(self, params: Tree, state: Tree, example: Example) -> Any:
        """Return the outputs for one example of the dataset, before `prepare`.

        Raises:
            Mistake: if the task does not say.
        """
        raise Mistake(
            f"{type(self).__name__} does not say how it predicts: give Network(…, predict_with="
            "lambda network, example: …), or define predict(params, state, example) in your Task"
        )

    def finish(self, sums: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
        """Return each metric's value from its sums over many examples (NumPy, float64).

        By default sum divided by weight. A metric that is no sum, such as the area under a curve,
        sums a pytree (histograms) in `score`, and is computed from it here.
        """
        return means(sums)

    def sums(
        self, params: Tree, state: Tree, batch: Batch, layout: Layout
    ) -> tuple[ScoreSums, Tree]:
        """Return the summed scores of this device's examples of a training pass, and of states.

        A task that can do a whole batch faster overrides this.

        Args:
            params: parameters.
            state: before the update.
            batch: this device's examples, in the order of `layout.places`.
            layout: how the devices share the pass.
        """
        batch = self.whole(batch)
        return one_example.training_sums(self._scored, params, state, batch, layout, self._axis)

    def evaluate(self, params: Tree, state: Tree, batch: Batch, exists: jax.Array) -> ScoreSums:
        """Return the summed scores of those examples that exist, (B,) bool."""
        return one_example.evaluation_sums(
            self._scored, params, state, batch, exists, self.evaluation_group, self._axis
        )

    @property
    def evaluation_group(self) -> int:
        """Examples of the test set that see each other in evaluation; 1 if none do."""
        return self.group or 1

    @property
    def _axis(self) -> str | None:
        return None if self.group is None else one_example.GROUP

    def running(self, state: Tree, sums: Tree, groups: jax.Array) -> Tree:
        """Return the state after an update: by default the mean of what its groups left.

        Args:
            state: before the update.
            sums: of what `sums` returned for its groups, over all devices: their changes.
            groups: float32 scalar, how many groups that were.
        """
        return one_example.averaged(state, sums, groups, lambda _: None)

    def _scored(
        self, params: Tree, state: Tree, example: Example, key: jax.Array | None
    ) -> tuple[ScoreSums, Tree]:
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        scores, left = self.score(params, state, self.prepare(example, keys[0]), keys[1])
        return named(scores), left


def _missing(task: Task, what: str) -> Mistake:
    return Mistake(f"{type(task).__name__} is a Task without a method that it needs: define {what}")


def named(scores: Scores) -> ScoreSums:
    """Return one example's scores by name, each as (sum, weight); raise Mistake if malformed."""
    if not isinstance(scores, Scores):
        raise Mistake(f"the task scores {type(scores).__name__}: return jbatch.Scores")
    made: ScoreSums = {"loss": (_number("the loss", scores.loss), _number("weight", scores.weight))}
    for name, value in scores.metrics.items():
        if not isinstance(name, str) or name in RESERVED:
            raise Mistake(f"a metric is called {name!r}, which has another meaning: rename it")
        total, weight = value if isinstance(value, tuple) else (value, 1.0)
        made[name] = (
            jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(jnp.float32), total),
            _number(f"the weight of {name}", weight),
        )
    return made


# Fields of a line of metrics that are not scores.
STANDING = ("kind", "update", "examples", "epoch", "seconds", "phase", "num_examples", "damaged")
PLANNED = ("batch_size", "learning_rate", "noise_scale")
SPEED = ("updates_per_second", "examples_per_second", "input_wait", "goodput")
# The measured noise: |G|², trΣ, their ratio trΣ/|G|² in examples, and that ratio in Adam's metric.
SQUARED, TRACE = "noise/gradient_squared", "noise/trace"
SIMPLE, OF_ADAM = "noise/simple", "noise/adam"
OVER_SIMPLE = "noise/batch_over_simple"
NOISE = (SQUARED, TRACE, SIMPLE, OVER_SIMPLE, OF_ADAM)
RESERVED = frozenset(("loss", *STANDING, *PLANNED, *SPEED, *NOISE, "distance", "moved"))


def _number(what: str, value: Any) -> jax.Array:
    array = jnp.asarray(value)
    if array.shape:
        raise Mistake(
            f"{what} of one example has the shape {array.shape}: give one number. jbatch calls the "
            "loss with one example, without a batch axis, and sums over examples"
        )
    return array.astype(jnp.float32)


def check_group(group: int | None) -> None:
    """Raise Mistake if a task's group is no number of examples."""
    if group is not None:
        whole("group", group, most=2**31 - 1)


def scores_of(value: Any) -> Scores:
    """Return what a loss returned as `Scores`."""
    if isinstance(value, Scores):
        return value
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Mapping):
        return Scores(value[0], metrics=value[1])
    if isinstance(value, tuple | list | dict) or value is None:
        raise Mistake(
            f"the loss returned {shown(value)}: return a scalar, (scalar, {{name: value}}), or "
            "jbatch.Scores(loss, weight, metrics)"
        )
    return Scores(value)


def means(sums: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
    """Return sum over weight by name; a metric that nothing counted for is left out."""
    return {name: float(total / weight) for name, (total, weight) in sums.items() if float(weight)}


class Learner(NamedTuple):
    """What an update does: a task, and the optimizer that takes its steps; hashable."""

    task: Task  # fitted to the dataset
    example: Spec
    optimizer: Optimizer
    momentum: float
    average: float | None = None  # examples that a parameter average remembers; None for none
    frozen: tuple[str, ...] = ()  # paths of parameters that stay as they are
    held: tuple[str, ...] = ()  # what each update is told: `Plan.hold`, and what the optimizer asks
    noise_of: int | None = None  # N of the data whose gradient noise is measured; None for none
