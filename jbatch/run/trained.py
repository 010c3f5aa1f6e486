"""A trained model in the hand: parameters, predictions and metrics of a run."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.data.batch import Example, Spec, spec_of
from jbatch.data.dataset import Dataset, checked_examples
from jbatch.data.inputs import Loaded
from jbatch.data.resident import ResidentData
from jbatch.devices import meshes
from jbatch.errors import Mistake, shown, whole
from jbatch.files import expanded
from jbatch.messages import tell
from jbatch.run import provenance, saved_task
from jbatch.run.checkpoint import Checkpoints
from jbatch.run.directory import best_checkpoints, read_run
from jbatch.run.evaluate import Evaluation, evaluate
from jbatch.run.metrics import read_metrics, scores_of, scores_text
from jbatch.run.saved_task import SavedTask
from jbatch.step import programs, pure
from jbatch.step.programs import Evaluate, Setup
from jbatch.step.pure import State
from jbatch.task.base import Learner, Tree

AT_ONCE = 256  # examples in one pass of `predict`

Step = Literal["last", "best"] | int


@dataclass(frozen=True, repr=False)
class Trained:
    """A run's checkpoint.

    Examples:
        >>> plan = jbatch.Coupling(lambda epoch: 0.1, num_epochs=2, batch_size=32)
        >>> experiment = jbatch.Experiment(plan, jbatch.Classify(jbatch.MLP()), jbatch.Digits())
        >>> run = jbatch.fit(experiment, "runs/digits")
        >>> model = jbatch.load("runs/digits")
        >>> model.predict({"image": np.zeros((3, 8, 8, 1), np.float32)}).shape
        (3, 10)
    """

    learner: Learner
    """The task and the optimizer."""
    train_state: State
    """The checkpoint itself, on one device."""
    examples: int
    """That training had seen."""
    metrics: dict[str, float]
    """Scores at the checkpoint, of the test set or, before the end of a run that has one, of the
    validation set; {} if it was not evaluated there."""
    class_names: tuple[str, ...] | None
    """None if the dataset has none."""
    directory: Path
    """Of the run."""
    data: Any = None
    """The run's dataset; None if it was arrays or a class of your own."""

    def __repr__(self) -> str:
        scores = f": {scores_text(self.metrics)}" if self.metrics else ""
        return f"<Trained after {self.examples:,} examples{scores}>"

    @cached_property
    def _evaluated(self) -> dict[str, tuple[Tree, Tree]]:
        found: dict[str, tuple[Tree, Tree]] = jax.jit(pure.evaluated, static_argnums=0)(
            self.learner, self.train_state
        )
        return found

    @property
    def params(self) -> Tree:
        """The parameters that evaluations use."""
        return self._evaluated[""][0]

    @property
    def state(self) -> Tree:
        """What the task keeps beside parameters, such as running statistics."""
        return self._evaluated[""][1]

    @property
    def average(self) -> Tree | None:
        """The average of the parameters; None if the run kept none."""
        return self._evaluated["average_"][0] if "average_" in self._evaluated else None

    def predict(self, examples: Example, average: bool = False) -> Any:
        """Return the network's outputs for examples, as NumPy arrays: for classes, logits.

        Args:
            examples: like the training set's, with a leading axis over examples; what the network
                does not read, such as labels, may be left out. They are normalized as in training.
            average: use the average of the parameters.

        Raises:
            Mistake: if the task does not say how it predicts, or the run kept no average.
        """
        if average and self.average is None:
            raise Mistake("this run kept no average of its parameters: set Experiment.average")
        params, state = self._evaluated["average_" if average else ""]
        count = _count(examples, self.learner)
        if not count:
            shapes = jax.eval_shape(self._predict, params, state, self.learner.example.stacked(1))
            return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype), shapes)
        parts = []
        for start in range(0, count, AT_ONCE):
            index = np.minimum(np.arange(start, start + min(AT_ONCE, count)), count - 1)
            here = jax.tree.map(lambda leaf, at=index: np.asarray(leaf)[at], examples)
            made = jax.device_get(self._predict(params, state, here))
            parts.append(jax.tree.map(lambda leaf, n=count - start: leaf[:n], made))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def evaluate(self, examples: Example) -> dict[str, float]:
        """Return the scores on examples like the test set's, by name, each example once.

        Args:
            examples: arrays with a leading axis over examples; they are normalized as in training.

        Raises:
            Mistake: if they are not like the training set's, or cannot be evaluated on.
        """
        given = checked_examples(examples)
        _check_like(given, self.learner.example)
        self.learner.task.check("examples'", given)
        return evaluated(self, ResidentData(Dataset(given, given)))[1].scores

    @cached_property
    def _predict(self) -> Callable[..., Any]:
        task = self.learner.task
        one = jax.vmap(task.predict, in_axes=(None, None, 0))
        return jax.jit(one)


def evaluated(model: Trained, data: Loaded) -> tuple[int, Evaluation]:
    """Evaluate a model on the test set of a dataset: (updates taken, evaluation)."""
    mesh = meshes.make_mesh(jax.local_devices()[:1])
    setup = Setup(model.learner, data.inputs, mesh, "shard_map")
    state = jax.device_put(model.train_state, meshes.replicated(mesh))
    with closing(data.test(mesh, setup.evaluation_size)) as test:
        found = evaluate(setup, programs.compiled(setup, Evaluate()), state, test)
    assert found is not None  # nothing asks it to stop
    return int(state.taken), found


def _check_like(examples: Example, known: Spec) -> None:
    """Raise Mistake if examples have not the names, dtypes and shapes of the training set's."""
    here, there = (
        {jax.tree_util.keystr(path): leaf for path, leaf in flat[0]}
        for flat in map(jax.tree_util.tree_flatten_with_path, (spec_of(examples).tree, known.tree))
    )
    for name in {**there, **here}:
        mine, theirs = here.get(name), there.get(name)
        if mine != theirs:
            raise Mistake(
                f"the examples have {name or 'an array'} of {_kind(mine)}, and the training set of "
                f"{_kind(theirs)}: give arrays of the same names, shapes and dtypes"
            )


def _kind(leaf: jax.ShapeDtypeStruct | None) -> str:
    return "none" if leaf is None else f"{leaf.dtype} {leaf.shape}"


def _count(examples: Example, learner: Learner) -> int:
    """Return the number of examples; raise Mistake if they are not like the training set's."""
    paths = jax.tree_util.tree_flatten_with_path(examples)[0]
    known = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(learner.example.tree)[0]
    }
    want = ", ".join(
        f"{key} ({', '.join(map(str, ('N', *leaf.shape)))})" for key, leaf in known.items()
    )
    lengths = set()
    for path, value in paths:
        name, shape = jax.tree_util.keystr(path), np.shape(value)
        if name in known and shape[1:] == known[name].shape and shape:
            lengths.add(shape[0])
            continue
        raise Mistake(
            f"predict was given {name or 'an array'} of shape {shape}: give examples like the "
            f"training set's, with a leading axis over examples: {want}"
        )
    if not lengths:
        raise Mistake(f"predict was given no array: give examples like the training set's: {want}")
    if len(lengths) > 1:
        raise Mistake(
            f"predict was given arrays of {len(lengths)} different lengths: give examples like the "
            "training set's, each array with the same leading axis over examples"
        )
    return int(lengths.pop())


def load(directory: Path | str, step: Step = "last", *, trusted: bool = False) -> Trained:
    """Load a run's model, without its experiment file or data.

    Args:
        directory: of the run.
        step: "last" for the newest checkpoint; "best" for the one of `keep_best`; or the number of
            examples seen at a checkpoint.
        trusted: load a run that another user trained, which runs code that it holds.

    Raises:
        Mistake: if there is no such checkpoint, or it is damaged, or not trusted.

    Examples:
        >>> plan = jbatch.Coupling(lambda epoch: 0.1, num_epochs=2, batch_size=32)
        >>> experiment = jbatch.Experiment(plan, jbatch.Classify(jbatch.MLP()), jbatch.Digits())
        >>> run = jbatch.fit(experiment, "runs/digits")
        >>> jbatch.load("runs/digits").examples
        3000
    """
    directory = expanded(Path(directory))
    run, saved = opened(directory, trusted=trusted)
    folder = directory / "checkpoints"
    if step == "best":
        folder = best_checkpoints(directory)
        if not folder.is_dir():
            raise Mistake(f"{directory} kept no best checkpoint: train it with keep_best")
    elif step != "last":
        whole("step", step, least=0)
    if not folder.is_dir():
        raise Mistake(f"{directory} has no checkpoint yet: train it first")
    place: jax.sharding.Sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if jax.process_count() > 1:
        place = meshes.replicated(meshes.make_mesh(meshes.all_devices()))
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        pure.state_shapes(saved.learner),
    )
    with _quiet(), closing(Checkpoints(folder, _warn, run["id"], read_only=True)) as checkpoints:
        restored = checkpoints.restore(like, step if isinstance(step, int) else None)
    if restored is None:
        raise Mistake(f"{directory} has no checkpoint {shown(step)}: train it first")
    lines = read_metrics(directory / "metrics.jsonl")
    there = [line for line in lines if line["examples"] == restored.examples]
    by_kind = {line["kind"]: scores_of(line) for line in there if line["kind"] in ("eval", "test")}
    metrics = by_kind.get("test", by_kind.get("eval", {}))
    state, examples = restored.state, restored.examples
    return Trained(
        saved.learner, state, examples, metrics, saved.class_names, directory, saved.data
    )


def opened(directory: Path, *, trusted: bool) -> tuple[dict[str, Any], SavedTask]:
    """Return a run's run.json and its task; raise Mistake as `load` does."""
    directory = expanded(directory)
    run, path = read_run(directory), directory / saved_task.NAME
    if not path.exists():
        raise Mistake(
            f"{directory} has no {saved_task.NAME}: a value of its task could not be saved. Give "
            "its experiment to jbatch.fit again to go on with it"
        )
    content = saved_task.read(path)  # once: what is checked is what is loaded
    if not trusted and not provenance.sealed(saved_task.sealed(content), run.get("task_seal")):
        raise Mistake(
            f"refusing to load {path}, which is code: it was not created by you on this machine. "
            "If you trust whoever made it, pass trusted=True (--trust)"
        )
    return run, saved_task.loaded(content, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Orbax, which warns that a directory is read only, as it is asked to take it."""
    absl = logging.getLogger("absl")
    before = absl.level
    absl.setLevel(logging.ERROR)
    try:
        yield
    finally:
        absl.setLevel(before)


def _warn(text: str) -> None:
    tell(f"jbatch: warning: {text}")


def weights(model: Trained) -> dict[str, jax.Array]:
    """Return every array of a model by its path, such as params/layers/0/kernel."""
    trees = {"params": model.params, "state": model.state}
    if model.average is not None:
        trees["average"] = model.average
    flat = jax.tree_util.tree_flatten_with_path(trees)[0]
    return {
        "/".join(jax.tree_util.keystr((key,), simple=True) for key in path): jnp.asarray(leaf)
        for path, leaf in flat
    }
