"""Tasks of a flax network: your own network, with your own loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax

from jbatch.data.about import About
from jbatch.data.batch import Batch, Example, Spec
from jbatch.errors import Mistake, shown
from jbatch.hidden import Hidden
from jbatch.task import one_example
from jbatch.task.base import Scores, Task, Tree, check_group, scores_of
from jbatch.task.modules import Decays, Module, module_of, takes


class ModuleTask(Task):
    """A task whose parameters are those of a flax module, nnx's or linen's."""

    module: Any  # a linen module, or a function of rngs that returns an nnx module

    def call(self, network: Any, example: Example, key: jax.Array | None) -> Scores:
        """Return one example's scores.

        Args:
            network: the module, which expects one example.
            example: one example after `prepare`.
            key: random key of the example's position in the run; None in evaluation.
        """
        raise NotImplementedError

    def at(self, batch_size: int) -> "ModuleTask":
        """Return the task of updates of a batch size; by default itself."""
        del batch_size
        return self

    def output(self, network: Any, example: Example) -> Any:
        """Return what `predict` returns for one example; raise Mistake if the task does not say."""
        return super().predict(None, None, example)

    def fitted(self, about: About) -> Task:
        """Return the task for a dataset's examples."""
        return OfModule(self, about.example)


@dataclass(frozen=True)
class OfModule(Task):
    """A `ModuleTask` with the examples that its module is called with."""

    task: ModuleTask
    example: Spec

    @property
    def group(self) -> int | None:  # type: ignore[override]  # it is the task's
        """g: examples of an update that see each other; None if none do."""
        return self.task.group

    def init(self, key: jax.Array, example: Example) -> tuple[Tree, Tree]:
        """Return the module's initial (parameters, state)."""
        _ = self._decays  # refuses batch norms over one example
        return self._module.init(key, partial(self.task.call, example=example, key=None))

    @property
    def normalization(self) -> dict[str, Any]:
        """How the input is normalized."""
        return self.task.normalization

    def check(self, what: str, examples: Example) -> None:
        """Raise Mistake if the task cannot score these examples."""
        self.task.check(what, examples)

    def at(self, batch_size: int) -> Task:
        """Return the task of updates of a batch size."""
        found = self.task.at(batch_size)
        return self if found is self.task else replace(self, task=found)

    def whole(self, batch: Batch) -> Batch:
        """Return the examples of a pass as the task wants them."""
        return self.task.whole(batch)

    def prepare(self, example: Example, key: jax.Array | None) -> Example:
        """Return an example as the task wants it."""
        return self.task.prepare(example, key)

    def score(
        self, params: Tree, state: Tree, example: Example, key: jax.Array | None
    ) -> tuple[Scores, Tree]:
        """Return one example's scores, and the state that its group leaves."""
        mine, its = (None, None) if key is None else tuple(jax.random.split(key))
        call = partial(self.task.call, example=example, key=mine)
        return self._module.apply(params, state, its, call)

    def predict(self, params: Tree, state: Tree, example: Example) -> Any:
        """Return the module's outputs for one example."""
        output = partial(self.task.output, example=self.task.prepare(example, None))
        return self._module.apply(params, state, None, output)[0]

    def evaluated(self, params: Tree, optimizer_state: Any) -> Tree:
        """Return the parameters to evaluate."""
        return self.task.evaluated(params, optimizer_state)

    def finish(self, sums: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
        """Return each metric's value from its sums."""
        return self.task.finish(sums)

    def running(self, state: Tree, sums: Tree, groups: jax.Array) -> Tree:
        """Return the state after an update; batch norms' averages decay once for each group."""
        decays = self._decays
        return one_example.averaged(
            state,
            sums,
            groups,
            lambda path: decays.get(tuple(str(key.key) for key in path)),
        )

    @property
    def averages(self) -> bool:
        """Whether the module has a batch norm, which averages over a group."""
        return bool(self._decays)

    @cached_property
    def _module(self) -> Module:
        return module_of(self.task.module)

    @cached_property
    def _decays(self) -> Decays:
        def call(network: Any) -> Scores:
            return self.task.call(network, self.prepare(self.example.zeros(), None), None)

        return self._module.decays(call)


@dataclass(frozen=True)
class Network(ModuleTask):
    """Your own flax network and your own loss.

    The loss sees one example: jbatch maps it over the examples of an update and adds up. It returns
    a scalar, or (scalar, {metric: value}), or `jbatch.Scores`.

    Examples:
        >>> from flax import nnx
        >>> def loss(network, example):
        ...     return ((network(example["x"]) - example["y"]) ** 2).sum()
        >>> task = jbatch.Network(lambda rngs: nnx.Linear(3, 2, rngs=rngs), loss)
    """

    module: Hidden[Any]
    """A linen module, or a function of rngs that returns an nnx module (its class, if that takes
    rngs alone)."""
    loss: Hidden[Callable[..., Any]]
    """Called as loss(network, example). If it has parameters named key or train, they are given
    too: a random key for the example's position (None in evaluation), and whether it trains."""
    group: int | None = None
    """Examples of an update that see each other, over the axis "group"; None if none do."""
    predict_with: Hidden[Callable[..., Any] | None] = None
    """Called as predict_with(network, example) for the predictions of a trained model."""

    def output(self, network: Any, example: Example) -> Any:
        """Return what `predict` returns for one example."""
        if self.predict_with is None:
            return super().output(network, example)
        return self.predict_with(network, example)

    def __post_init__(self) -> None:
        check_group(self.group)
        module_of(self.module)
        if not callable(self.loss):
            raise Mistake(f"loss is {shown(self.loss)}: give a function of (network, example)")

    def call(self, network: Any, example: Example, key: jax.Array | None) -> Scores:
        """Return one example's scores."""
        given = {"key": key, "train": key is not None}
        wanted = {name: value for name, value in given.items() if takes(self.loss, name)}
        return scores_of(self.loss(network, example, **wanted))
