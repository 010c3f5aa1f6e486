"""Image classification for a dataset: networks with one or two heads, and their cross-entropy."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax import nnx

from jbatch.data.batch import Batch, Example
from jbatch.data.dataset import check_labels
from jbatch.data.image.augment import augment, erased, turned
from jbatch.data.image.mix import mixed
from jbatch.data.image.normalize import normalized
from jbatch.data.image.views import seen
from jbatch.errors import Mistake
from jbatch.models.airbench import PATCH, WHITEN
from jbatch.models.build import build
from jbatch.models.norm import Pass
from jbatch.models.norms import GhostBatchNorm
from jbatch.models.specs import Airbench
from jbatch.models.whitening import whitening
from jbatch.plan.layout import Layout
from jbatch.task.base import Scores, ScoreSums, Task, Tree
from jbatch.task.modules import called
from jbatch.task.network import ModuleTask
from jbatch.task.one_example import GROUP, next_in_group

if TYPE_CHECKING:
    from jbatch.task.classify import Classify

HEAD_WEIGHTS = (1.0, 0.4)  # of the main and the auxiliary head's loss (Szegedy et al.)


@dataclass(frozen=True)
class Classifier(Task):
    """`Classify` for a dataset, with one of jbatch's networks, which do a whole batch at once."""

    task: "Classify"
    input_shape: tuple[int, ...]  # (H, W, C)
    num_classes: int
    shift: tuple[float, ...]  # (C,), subtracted from each channel; see `normalized`
    factor: tuple[float, ...]  # (C,)
    # Of a network that whitens images: its first convolution's kernel, flat; () if it has none, or
    # on paper.
    whitening: tuple[float, ...] = ()
    side: int | None = None  # pixels of training images, see `Classify.sides`; None: their own

    @property
    def group(self) -> int | None:  # type: ignore[override]
        """g: examples that share batch norm statistics; None without batch norm."""
        return self.task.group

    evaluation_group = 1  # with running statistics

    @property
    def normalization(self) -> dict[str, Any]:
        """How images are normalized: (value − shift) · factor by channel, then as it names."""
        shift, factor = list(self.shift), list(self.factor)
        return {"normalize": self.task.normalize, "shift": shift, "factor": factor}

    def check(self, what: str, examples: Example) -> None:
        """Raise Mistake for a label that is no class."""
        check_labels(f"the {what} labels", examples["label"], self.num_classes)

    @property
    def frozen(self) -> tuple[str, ...]:
        """The whitening kernel."""
        return (f"{WHITEN}.kernel",) if isinstance(self.task.model, Airbench) else ()

    def whitened(self, model: Airbench, images: npt.NDArray[Any]) -> "Classifier":
        """Return the task with a first convolution that whitens these training images."""
        with jax.enable_x64(False):
            x = np.asarray(self.images(jnp.asarray(images), None))
        kernel = whitening(x, PATCH, model.whitening_eps)
        return replace(self, whitening=tuple(kernel.ravel().tolist()))

    def at(self, batch_size: int) -> "Classifier":
        """Return the task of updates of a batch size, whose images have their side."""
        sides = [side for least, side in self.task.sides if least <= batch_size]
        return replace(self, side=sides[-1]) if sides else self

    def init(self, key: jax.Array, example: Example) -> tuple[Tree, Tree]:
        """Return the initial (parameters, running statistics)."""
        del example
        params, stats = split(network_of(self, key))[1:]
        if self.whitening:
            shape = params[WHITEN]["kernel"].shape
            params[WHITEN]["kernel"] = jnp.array(self.whitening, jnp.float32).reshape(shape)
        return params, stats

    def images(
        self, images: jax.Array, keys: jax.Array | None, turns: jax.Array | None = None
    ) -> jax.Array:
        """Augment (with keys) and normalize images: (B, …, C) → float32."""
        if turns is not None and self.task.augment.alternating_flip:
            images = turned(images, turns)
        if keys is not None:
            images = augment(self.task.augment, images, keys)
        shift, factor = np.array(self.shift, np.float32), np.array(self.factor, np.float32)
        images = normalized(self.task.normalize, images, shift, factor)
        if keys is None:
            return images
        images = erased(self.task.augment, images, keys)
        if self.side is None:
            return images
        shape = (len(images), self.side, self.side, images.shape[-1])
        resized: jax.Array = jax.image.resize(images, shape, "linear")
        return resized

    def sums(
        self, params: Tree, state: Tree, batch: Batch, layout: Layout
    ) -> tuple[ScoreSums, Tree]:
        """Return the scores of a training pass, and the statistics of its ghost batches."""
        training = Pass(layout, cast(jax.Array, batch.keys))  # None in evaluation only
        images = self.images(batch.examples["image"], batch.keys, batch.turns)
        labels = Labels(_labels(batch))
        if self.task.mix.mixes:
            others = next_in_group(images, layout)
            images, own = jax.vmap(partial(mixed, self.task.mix))(images, others, training.keys)
            labels = Labels(labels.own, next_in_group(labels.own, layout), own)
        heads, left = forward(self, params, state, images, training)
        losses = sum(
            weight * labels.scored(cross_entropy, logits, self.task.label_smoothing)
            for weight, logits in zip(HEAD_WEIGHTS, heads, strict=False)
        )
        assert isinstance(losses, jax.Array)  # there is at least one head
        right, count = labels.scored(correct, heads[0]), jnp.float32(layout.per_device)
        return {"loss": (losses.sum(), count), "accuracy": (right.sum(), count)}, left

    def running(self, state: Tree, sums: Tree, groups: jax.Array) -> Tree:
        """Return running statistics after n more ghost batches: dⁿ · old + (1 − dⁿ) · their mean.

        They decay per ghost batch, not per update. So their memory in examples stays the same as
        the batch grows.
        """
        norm = getattr(self.task.model, "norm", None)
        if not isinstance(norm, GhostBatchNorm):
            return state
        old = jnp.float32(norm.decay) ** groups
        new: Tree = jax.tree.map(
            lambda running, total: old * running + (1 - old) * total / groups, state, sums
        )
        return new

    def evaluate(self, params: Tree, state: Tree, batch: Batch, exists: jax.Array) -> ScoreSums:
        """Return loss (without label smoothing) and accuracy of the examples that exist.

        With several views they are of the mean logits, and plain_accuracy is of the images alone.
        """
        labels = _labels(batch)
        logits, plain = self._logits(params, state, batch.examples["image"])
        scores = {"loss": cross_entropy(logits, labels, 0.0), "accuracy": correct(logits, labels)}
        if plain is not None:
            scores["plain_accuracy"] = correct(plain, labels)
        count = exists.astype(jnp.float32).sum()
        return {name: (jnp.where(exists, each, 0).sum(), count) for name, each in scores.items()}

    def predict(self, params: Tree, state: Tree, example: Example) -> jax.Array:
        """Return the logits (classes,) of one image."""
        return self._logits(params, state, example["image"][None])[0][0]

    def _logits(
        self, params: Tree, state: Tree, images: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """Return the mean logits (B, classes) of all views, and those of the images alone.

        The latter are None if there is no other view.
        """
        weights, views = zip(*seen(self.task.views, self.images(images, None)), strict=True)
        (logits,), _ = forward(self, params, state, jnp.concatenate(views), None)
        each = logits.astype(jnp.float32).reshape(len(views), len(images), -1)
        if len(views) == 1:
            return each[0], None
        return jnp.einsum("v,vbc->bc", jnp.array(weights, jnp.float32), each), each[0]


@dataclass(frozen=True)
class OwnClassifier(ModuleTask):
    """`Classify` for a dataset, with a person's own network."""

    fit: Classifier

    @property
    def module(self) -> Any:
        """The network."""
        return self.fit.task.model

    @property
    def group(self) -> int | None:  # type: ignore[override]
        """g: examples that share batch norm statistics; None without batch norm."""
        return self.fit.group

    @property
    def normalization(self) -> dict[str, Any]:
        """How images are normalized."""
        return self.fit.normalization

    def check(self, what: str, examples: Example) -> None:
        """Raise Mistake for a label that is no class."""
        self.fit.check(what, examples)

    def at(self, batch_size: int) -> "OwnClassifier":
        """Return the task of updates of a batch size, whose images have their side."""
        found = self.fit.at(batch_size)
        return self if found is self.fit else OwnClassifier(found)

    def whole(self, batch: Batch) -> Batch:
        """Mirror the images whose turn it is."""
        if batch.turns is None or not self.fit.task.augment.alternating_flip:
            return batch
        images = turned(batch.examples["image"], batch.turns)
        return batch._replace(examples={**batch.examples, "image": images})

    def prepare(self, example: Example, key: jax.Array | None) -> Example:
        """Augment and normalize the image."""
        keys = None if key is None else key[None]
        return {**example, "image": self.fit.images(example["image"][None], keys)[0]}

    def output(self, network: Any, example: Example) -> jax.Array:
        """Return the logits of one image, the mean over its views."""
        return self._seen(network, example)[0]

    def _seen(self, network: Any, example: Example) -> tuple[jax.Array, jax.Array | None]:
        """Return the mean logits of all views, and those of the image alone, or None."""
        weights, views = zip(*seen(self.fit.task.views, example["image"][None]), strict=True)
        each = [self._called(network, view[0], False) for view in views]
        mean = jnp.stack([weight * one for weight, one in zip(weights, each, strict=True)]).sum(0)
        return mean, each[0] if len(each) > 1 else None

    def _called(self, network: Any, image: jax.Array, train: bool) -> jax.Array:
        """Return the logits of one view; raise Mistake for another shape."""
        logits: jax.Array = called(network, image, train)
        classes = self.fit.num_classes
        if logits.shape != (classes,):
            raise Mistake(
                f"the network returns logits of shape {logits.shape} for one image of shape "
                f"{image.shape}, but the dataset has {classes} classes: return "
                f"({classes},), without a batch axis"
            )
        return logits.astype(jnp.float32)

    def call(self, network: Any, example: Example, key: jax.Array | None) -> Scores:
        """Return one example's loss (without label smoothing in evaluation) and accuracy."""
        labels = Labels(example["label"].astype(jnp.int32)[None])
        if key is not None and self.fit.task.mix.mixes:
            other, label = jax.tree.map(_next, (example["image"], labels.own))
            image, own = mixed(self.fit.task.mix, example["image"], other, key)
            example, labels = {**example, "image": image}, Labels(labels.own, label, own[None])
        if key is None:
            (logits, plain), smoothing = self._seen(network, example), 0.0
        else:
            logits, plain = self._called(network, example["image"], True), None
            smoothing = self.fit.task.label_smoothing
        [loss] = labels.scored(cross_entropy, logits[None], smoothing)
        [right] = labels.scored(correct, logits[None])
        metrics = {"accuracy": right}
        if plain is not None:
            [metrics["plain_accuracy"]] = correct(plain[None], labels.own)
        return Scores(loss, metrics=metrics)


class Labels(NamedTuple):
    """Labels of training images, which may be mixed."""

    own: jax.Array  # (B,) int32
    others: jax.Array | None = None  # of the images mixed with; None if they are not mixed
    share: jax.Array | None = None  # (B,) float32, of the own

    def scored(self, score: Callable[..., jax.Array], logits: jax.Array, *more: Any) -> jax.Array:
        """Return a score of (logits, labels), (B,): its mean over a mixed image's labels."""
        found = score(logits, self.own, *more)
        if self.others is None or self.share is None:
            return found
        return self.share * found + (1 - self.share) * score(logits, self.others, *more)


def _next(leaf: jax.Array) -> jax.Array:
    """Return the same of the group's next example, within the map over a group."""
    size = jax.lax.axis_size(GROUP)
    found: jax.Array = jax.lax.ppermute(leaf, GROUP, [(n, (n - 1) % size) for n in range(size)])
    return found


def _labels(batch: Batch) -> jax.Array:
    labels: jax.Array = batch.examples["label"].astype(jnp.int32)
    return labels


def forward(
    task: Classifier, params: Tree, stats: Tree, images: jax.Array, training: Pass | None
) -> tuple[tuple[jax.Array, ...], Tree]:
    """Compute the logits (B, classes) of each head, and the norms' statistics.

    In training the statistics are sums over this device's ghost batches, and an auxiliary head may
    follow the first. If `training` is None, the network evaluates with the running statistics
    `stats` and returns them unchanged.
    """
    network = nnx.merge(graph(task), nnx.State(params), nnx.State(stats))
    with precision(task.task.dtype):
        heads = network(images.astype(task.task.dtype), training)
    return heads if isinstance(heads, tuple) else (heads,), split(network)[2]


def precision(dtype: str) -> AbstractContextManager[None]:
    """Keep float32 products in float32: by default TPUs and GPUs round the factors."""
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # set at run time
    exact = "highest" if dtype == "float32" and told is None else told
    precision: AbstractContextManager[None] = jax.default_matmul_precision(exact)
    return precision


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:
    """Compute −Σ target · log softmax per example, (B,) float32.

    Targets are (1−α) · one-hot + α/classes, with α = `smoothing`.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    right = jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    if not smoothing:
        return -right
    return -(1 - smoothing) * right - smoothing * log_probabilities.mean(1)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return 1 per example whose largest logit is the label's, else 0: (B,) float32."""
    return (logits.argmax(1) == labels).astype(jnp.float32)


def network_of(task: Classifier, key: jax.Array) -> nnx.Module:
    """Build the network with initial parameters drawn with a random key."""
    return build(task.task.model, task.input_shape, task.num_classes, nnx.Rngs(key))


def split(network: nnx.Module) -> tuple[nnx.GraphDef[nnx.Module], Tree, Tree]:
    """Split a network: structure, parameters, running statistics (both plain nested dicts)."""
    graph, *states = nnx.split(network, nnx.Param, nnx.BatchStat)
    params, stats = states
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


@cache
def graph(task: Classifier) -> nnx.GraphDef[nnx.Module]:
    """Return the network's structure without arrays; raise Mistake if it cannot be built."""
    with jax.enable_x64(False):
        key = jax.random.key(0, impl="threefry2x32")
        return nnx.split(nnx.eval_shape(lambda: network_of(task, key)), nnx.Param, nnx.BatchStat)[0]
