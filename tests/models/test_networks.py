"""Every network: its published size, its gradient, and that any norm and dtype go through it."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jbatch.data.about import About
from jbatch.data.batch import Batch, spec_of
from jbatch.devices import meshes, spmd
from jbatch.errors import Mistake
from jbatch.models import (
    MLP,
    CifarResNet,
    ConvNeXt,
    GhostBatchNorm,
    GroupNorm,
    InceptionResNetV2,
    KeskarC1,
    KeskarC2,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    ResNet50,
    SmallCNN,
    ViT,
    WeightNorm,
    WideResNet,
    inception_resnet_v2,
    resnet50,
)
from jbatch.models.build import build
from jbatch.models.conv import on_cpu
from jbatch.models.norm import Pass
from jbatch.models.resnet50 import BottleneckBlock
from jbatch.optim import SGD
from jbatch.plan.layout import Layout
from jbatch.step import pure
from jbatch.task import classifier
from jbatch.task.base import Learner
from jbatch.task.classify import Classify
from marks import slow

CIFAR, IMAGENET = ((32, 32, 3), 10), ((224, 224, 3), 1000)
PUBLISHED = [  # parameters
    (WideResNet(16, 4), CIFAR, 2_748_890),  # 2.75 M (Smith et al.; Zagoruyko and Komodakis)
    (WideResNet(28, 10), CIFAR, 36_479_194),  # 36.5 M
    (WideResNet(40, 4), CIFAR, 8_949_210),  # 8.9 M
    (ResNet50(), IMAGENET, 25_557_032),  # 25.56 M
    (InceptionResNetV2(), ((299, 299, 3), 1000), 55_843_464),  # 55.8 M
    (CifarResNet(7), CIFAR, 658_586),  # ResNet-44: 0.66 M
    (CifarResNet(3), CIFAR, 269_722),  # ResNet-20: 0.27 M
    (ViT(), IMAGENET, 22_050_664),  # ViT-S/16
    (ConvNeXt(), IMAGENET, 28_589_128),  # ConvNeXt-T
    # No figure is published: layer by layer, weights and two per channel of each norm.
    (
        MLP((512,) * 5, GhostBatchNorm()),  # F1
        ((28, 28, 1), 10),
        784 * 512 + 4 * 512 * 512 + 5 * 2 * 512 + 512 * 10 + 10,
    ),
    (
        KeskarC1(),
        CIFAR,
        25 * 64 * (3 + 64) + 64 * 384 + 384 * 192 + 2 * (64 + 64 + 384 + 192) + 192 * 10 + 10,
    ),
    (
        KeskarC2(),  # C4
        ((32, 32, 3), 100),
        9 * (3 * 64 + 64 * 64 + 64 * 128 + 128**2 + 128 * 256 + 2 * 256**2 + 256 * 512 + 5 * 512**2)
        + 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
        + (512 * 512 + 2 * 512)
        + (512 * 100 + 100),
    ),
    (SmallCNN(), ((28, 28, 1), 10), 33_658),
]


@pytest.mark.parametrize(("model", "of", "count"), PUBLISHED, ids=lambda value: str(value)[:24])
def test_parameter_counts(model, of, count):
    network = nnx.eval_shape(lambda: build(model, *of, nnx.Rngs(0)))
    params = nnx.state(network, nnx.Param)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_resnet50_blocks_begin_as_their_shortcuts():
    block = BottleneckBlock(GhostBatchNorm(4), 16, 4, 1, nnx.Rngs(0))
    x = jnp.abs(batch_of((6, 6, 16)).examples["image"])  # as ReLU leaves it
    np.testing.assert_array_equal(block(x, Pass(Layout(8, 1, 4), None)), x)
    network = nnx.eval_shape(lambda: build(ResNet50(), (64, 64, 3), 10, nnx.Rngs(0)))
    strides = [block.conv.conv.stride for block in network.blocks]
    assert strides == [1] * 3 + [2, 1, 1, 1] + [2] + [1] * 5 + [2, 1, 1]  # on the 3×3
    assert all(block.reduce.conv.stride == 1 for block in network.blocks)


def task_of(model, input_shape, **options):
    example = spec_of(batch_of(input_shape).examples)
    task = Classify(model, normalize="none", **options)
    return task.fitted(About(example, num_classes=10))


def learner_of(model, input_shape, **options):
    example = spec_of(batch_of(input_shape).examples)
    return Learner(task_of(model, input_shape, **options), example, SGD(), 0.9)


# These programs run a few times each: LLVM's optimizations take longer than they save. What XLA
# itself does to a program is the same.
QUICKLY = {"xla_backend_optimization_level": "0"}


def initial(learner):
    """The state, compiled as in a run: see `programs.initializer`."""
    return jax.jit(partial(pure.init, learner), compiler_options=QUICKLY)(np.uint32(0))


def batch_of(input_shape, size=8):
    """Float images, as a network sees them."""
    rng = np.random.default_rng(0)
    examples = {
        "image": rng.normal(size=(size, *input_shape)).astype(np.float32),
        "label": rng.integers(0, 10, size).astype(np.int32),
    }
    return Batch(examples, jax.random.split(jax.random.key(1), size))


NORMS = [
    GhostBatchNorm(4),
    *map(slow, (NoNorm(), GroupNorm(2), LayerNorm(), WeightNorm(), LocalResponseNorm())),
]
SMALL = [
    (MLP((16, 16)), (6, 6, 2)),
    (SmallCNN((4, 8)), (9, 9, 2)),
    (CifarResNet(1, (4, 8)), (8, 8, 2)),
    (KeskarC1(), (21, 23, 1)),
]
CHECKED = [
    (replace(SMALL[0][0], norm=GhostBatchNorm(4)), SMALL[0][1]),
    *[slow(replace(model, norm=GhostBatchNorm(4)), shape) for model, shape in SMALL[1:]],
    slow(ViT(4, 16, 2, 2, 0.1, 0.3), (8, 12, 2)),
    slow(ConvNeXt((1, 2), (8, 12), 2, 0.5, 0.3), (9, 8, 3)),
    (MLP((16, 16), WeightNorm()), (6, 6, 2)),
    # Batch norm of the four values that are left of a ghost batch at its last layers bends the
    # loss too much for differences. The larger networks are of the same layers.
    slow(KeskarC2(norm=LayerNorm()), (32, 32, 3)),
]


@pytest.mark.parametrize(("model", "shape"), CHECKED, ids=lambda value: str(value)[:60])
def test_gradients_by_finite_differences(model, shape):
    """Along the gradient itself, where the slope is its length and rounding matters least."""
    learner = learner_of(model, shape, label_smoothing=0.1)
    state = initial(learner)
    gather = jax.jit(partial(pure.gather, learner, Layout(8, 1, 4)), compiler_options=QUICKLY)
    batch = batch_of(shape)
    gradients = gather(state, batch).gradients
    length = float(optax.tree.norm(gradients))

    def loss_at(distance):
        params = jax.tree.map(
            lambda p, g: p + jnp.float32(distance / length) * g, state.params, gradients
        )
        return float(gather(state._replace(params=params), batch).scores["loss"][0])

    # Central differences: the error falls as h² but for the kinks of ReLU. A loss near 20 is
    # rounded by 2e-6, which is 1e-4 of the 0.02 that it changes by.
    h = 0.01 / length
    assert (loss_at(h) - loss_at(-h)) / (2 * h) == pytest.approx(length, rel=5e-3)


def test_a_network_is_as_exact_as_by_xlas_convolutions(monkeypatch):
    """Its gradient differs as if its parameters had been rounded a few times more, or less."""
    model, shape = WideResNet(10, 4, norm=GhostBatchNorm(4)), (8, 8, 3)
    learner, batch = learner_of(model, shape), batch_of(shape)
    state = initial(learner)

    def gathered():
        """Compiled by the rules of this moment."""
        function = jax.jit(partial(pure.gather, learner, Layout(8, 1, 4)))
        lowered = function.lower(state, batch)
        count = lowered.as_text().count("stablehlo.convolution")
        return count, lowered.compile(QUICKLY)

    few, own = gathered()
    for threshold, value in {"WIDE": 2**20, "NARROW": 2**20, "TAPS": 0}.items():
        monkeypatch.setattr(on_cpu, threshold, value)
    many, by_xla = gathered()
    assert few < many

    def apart(one, other):
        return float(optax.tree.norm(optax.tree.sub(one.gradients, other.gradients)))

    rng = np.random.default_rng(0)
    params = jax.tree.map(  # a unit or two in the last place of each, up or down
        lambda leaf: leaf * (1 + rng.choice([-1, 1], leaf.shape) * np.float32(2**-23)), state.params
    )
    expected = by_xla(state, batch)
    rounded = apart(by_xla(state._replace(params=params), batch), expected)
    print(
        few,
        many,
        apart(own(state, batch), expected),
        rounded,
        float(optax.tree.norm(expected.gradients)),
    )
    assert 0 < apart(own(state, batch), expected) < 2 * rounded


@pytest.mark.parametrize("norm", NORMS, ids=repr)
def test_bfloat16_is_float32_to_its_precision(norm):
    model, shape = CifarResNet(1, (4, 8), norm), (8, 8, 2)
    wide, narrow = learner_of(model, shape), learner_of(model, shape, dtype="bfloat16")
    state = initial(wide)
    layout, batch = Layout(8, 1, 4), batch_of(shape)
    expected = jax.jit(partial(pure.gather, wide, layout))(state, batch)
    found = jax.jit(partial(pure.gather, narrow, layout))(state, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    # bfloat16 has 8 bits: each of some ten operations rounds by up to 2⁻⁹, 2% of a value in all.
    losses = [float(sums.scores["loss"][0]) for sums in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert losses[0] != losses[1]
    difference = optax.tree.norm(optax.tree.sub(found.gradients, expected.gradients))
    # A value within 2% of the spread around 0 may round to the other side of its ReLU. That is a
    # share f = 2%/√(2π)·2 = 1.6% of the units, whose gradients are then wrong altogether: √f = 13%
    # of the length for a layer, and 22% for the three layers here.
    assert float(difference) < 0.22 * float(optax.tree.norm(expected.gradients))


@pytest.mark.slow
def test_an_auxiliary_head_counts_in_training_only():
    model = InceptionResNetV2(auxiliary_head=True)
    task = task_of(model, (75, 75, 3))
    params, stats = jax.eval_shape(lambda: task.init(jax.random.key(0), None))
    images = jax.ShapeDtypeStruct((2, 75, 75, 3), np.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))

    def heads(training):
        forward = partial(classifier.forward, task, training=training)
        return jax.eval_shape(forward, params, stats, images)[0]

    assert [head.shape for head in heads(None)] == [(2, 10)]

    def trained(params, stats, images, keys):
        return classifier.forward(task, params, stats, images, Pass(Layout(2, 1, 2), keys))

    (main, auxiliary), _ = jax.eval_shape(trained, params, stats, images, keys)
    assert main.shape == auxiliary.shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (InceptionResNetV2(), (74, 299, 3), "74×299 pixels are too small.* 75×75 or more"),
        (KeskarC1(), (20, 20, 1), "20×20 pixels are too small"),
        (KeskarC2(), (31, 32, 3), "31×32 pixels are too small.* 32×32"),
        (CifarResNet(norm=GroupNorm()), (32, 32, 3), "32 groups do not divide a layer of 16"),
        (ViT(), (32, 30, 3), "patches of 16 pixels do not divide images of 32×30"),
        (ConvNeXt(), (32, 31, 3), r"32×31 pixels are too small for 4 stages.* 32×32 or more"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_does_not_fit_is_refused(model, shape, message):
    with pytest.raises(Mistake, match=message):
        task_of(model, shape)


@pytest.mark.slow
def test_the_smallest_images_fit():
    for model, shape in ((InceptionResNetV2(), (75, 75, 3)), (KeskarC1(), (21, 21, 1))):
        task_of(model, shape)


# Their norms are no other test's, because what is built of a model is kept.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (ResNet50(GhostBatchNorm(8)), (64, 64, 3)),
        (InceptionResNetV2(GhostBatchNorm(8)), (75, 75, 3)),
    ],
    ids=["ResNet50", "InceptionResNetV2"],
)
def test_the_large_networks_train(model, shape, monkeypatch):
    """A few updates on one batch bring its loss down; with one block of each kind and width."""
    monkeypatch.setattr(resnet50, "BLOCKS", (2, 1, 1, 1))
    monkeypatch.setattr(inception_resnet_v2, "BLOCKS", (1, 1, 2))
    learner = learner_of(model, shape)
    state = initial(learner)
    batch = batch_of(shape)
    mapped = spmd.Mapped(
        lambda state, batch: pure.apply(
            learner,
            state,
            pure.gather(learner, Layout(8, 1, 8), state, batch),
            *(jnp.float32(value) for value in (0.02, 1, 8)),  # rate, groups, examples
        ),
        meshes.make_mesh(jax.devices()[:1]),
        "shard_map",
        jax.eval_shape(lambda: (state, batch)),
        per_device=(False, False),
        per_device_out=(False, False),
    ).compile(QUICKLY)
    losses = []
    for _ in range(6):
        state, loss = mapped(state, batch)
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
