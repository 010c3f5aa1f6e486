"""The fast network for CIFAR-10: each part against its definition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jbatch
from jbatch import Airbench, Arrays, Classify, GhostBatchNorm, Mistake, Source
from jbatch.data.open import load
from jbatch.models.airbench import Block, Whiten, pooled
from jbatch.models.build import build
from jbatch.models.norm import Pass
from jbatch.models.pool import MaxPool
from jbatch.plan.layout import Layout

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 9, 8, 3)).astype(np.uint8)
IMAGES[..., 1] = IMAGES[..., 0] // 2 + IMAGES[..., 1] // 4  # so that channels depend on each other
LABELS = np.arange(40) % 3
NORM = GhostBatchNorm(8, decay=0.6, eps=1e-12, scale=False)
SMALL = Airbench((4,), NORM, whitening_images=30)


def fitted(model=SMALL, **options):
    data = {"image": IMAGES, "label": LABELS}
    return Classify(model, **options).fitted(load(Arrays(data, data)).about)


def test_the_published_number_of_parameters():
    """1.97 million: whitening with its bias, six convolutions, six biases of norms, the head."""
    network = nnx.eval_shape(lambda: build(Airbench(), (32, 32, 3), 10, nnx.Rngs(0)))
    counts = [math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))]
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert sum(counts) == 12 * 24 + 24 + convolutions + 2 * (64 + 256 + 256) + 2560 == 1_971_640


def test_whitening_is_as_defined():
    """E[y yᵀ] of the first filters' outputs y is diagonal, λ/(λ + ε); the others are negative."""
    x = IMAGES / 255 - 0.5
    kernel = jbatch.whitening(x, 2, 0.01).astype(float)
    assert kernel.shape == (2, 2, 3, 24)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
    parts = [x[:, row : row + 8, column : column + 7] for row in (0, 1) for column in (0, 1)]
    patches = np.stack(parts, -2).reshape(-1, 12)
    moments = patches.T @ patches / len(patches)
    y = patches @ kernel.reshape(12, 24)[:, :12]
    values = np.linalg.eigvalsh(moments)[::-1]
    # The kernel is float32: 12 products of numbers up to 10 are rounded by some 1e-6.
    np.testing.assert_allclose(y.T @ y / len(y), np.diag(values / (values + 0.01)), atol=1e-5)


def test_a_task_whitens_its_first_training_images():
    task = fitted()
    params, _ = task.init(jax.random.key(0), None)
    x = task.images(jnp.asarray(IMAGES), None)
    np.testing.assert_allclose(
        params["whiten"]["kernel"], jbatch.whitening(np.asarray(x)[:30]), rtol=1e-6
    )
    assert task.frozen == ("whiten.kernel",)
    assert hash(task) == hash(fitted())
    assert task == fitted()


def test_no_gradient_reaches_the_whitening_kernel():
    layer = Whiten(3, nnx.Rngs(0))
    graph, params = nnx.split(layer)
    x = jnp.asarray(IMAGES[:2] / 255, jnp.float32)
    gradient = jax.grad(lambda params: jnp.square(nnx.merge(graph, params)(x)).sum())(params)
    assert not np.asarray(gradient["kernel"][...]).any()
    assert np.asarray(gradient["bias"][...]).all()


def test_partial_identities_pass_their_input_on():
    layer = nnx.Conv(
        5,
        7,
        (3, 3),
        use_bias=False,
        kernel_init=jbatch.partial_identity(nnx.initializers.lecun_normal()),
        rngs=nnx.Rngs(0),
    )
    x = jnp.asarray(RNG.normal(size=(2, 4, 6, 5)), jnp.float32)
    y = layer(x)
    np.testing.assert_array_equal(y[..., :5], x)
    assert np.std(layer.kernel[...][..., 5:]) > 0.1
    narrowing = jbatch.partial_identity(nnx.initializers.ones)(None, (1, 1, 3, 2), jnp.float32)
    np.testing.assert_array_equal(narrowing[0, 0], np.eye(3)[:, :2])


def test_a_block_is_as_published():
    """In float64, with norms over two groups of four, a bias, and no scale."""
    block = Block(GhostBatchNorm(4, eps=1e-12, scale=False), 3, 5, nnx.Rngs(1))
    block.norm1.bias[...], block.norm2.bias[...] = jnp.arange(5.0) / 5, jnp.arange(5.0) / 3
    x = RNG.normal(size=(8, 5, 6, 3)).astype(np.float32)
    found = block(jnp.asarray(x), Pass(Layout(8, 1, 4), None))

    def normed(y, bias):
        y = y.reshape(2, 4, *y.shape[1:])
        mean, var = (of(y, axis=(1, 2, 3), keepdims=True) for of in (np.mean, np.var))
        return ((y - mean) / np.sqrt(var)).reshape(8, *y.shape[2:]) + np.asarray(bias, float)

    def gelu(y):
        return y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2

    def conv(y, kernel):
        padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = y.shape[1:3]
        return sum(
            padded[:, r : r + height, c : c + width] @ np.asarray(kernel, float)[r, c]
            for r in range(3)
            for c in range(3)
        )

    y = conv(x.astype(float), block.conv1.kernel[...])[:, :4]
    y = y.reshape(8, 2, 2, 3, 2, 5).max((2, 4))
    y = gelu(normed(y, block.norm1.bias[...]))
    y = gelu(normed(conv(y, block.conv2.kernel[...]), block.norm2.bias[...]))
    assert found.shape == (8, 2, 3, 5)
    # Two convolutions and norms of values near 1 in float32: some 1e-6.
    np.testing.assert_allclose(found, y, atol=2e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_pools_are_flaxs_and_so_are_their_gradients(size):
    x = jnp.asarray(RNG.normal(size=(2, 7, 8, 3)), jnp.float32)
    np.testing.assert_array_equal(pooled(x, size), MaxPool(size, size)(x))

    def weighed(pool, x):
        y = pool(x)
        return (y * jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape)).sum()

    mine = jax.grad(lambda x: weighed(lambda x: pooled(x, size), x))(x)
    theirs = jax.grad(lambda x: weighed(lambda x: MaxPool(size, size)(x), x))(x)
    np.testing.assert_array_equal(mine, theirs)


def test_without_scale_a_norm_has_a_bias_alone():
    params, stats = fitted().init(jax.random.key(0), None)
    assert set(params["blocks"][0]["norm1"]) == {"bias"}
    assert set(stats["blocks"][0]["norm1"]) == {"mean", "var"}


def test_what_does_not_fit_is_refused():
    with pytest.raises(Mistake, match="9×8 pixels are too small for Airbench with 3 blocks: give "):
        fitted(Airbench(norm=NORM))
    records = [{"image": image, "label": 0} for image in IMAGES]
    source = Source(records, records, lambda record, rng: record, workers=0, num_classes=3)
    with pytest.raises(Mistake, match="Airbench whitens training images, which a stream"):
        Classify(SMALL, normalize="none").fitted(load(source).about)
