"""Each norm against its formula in NumPy float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.models import (
    GhostBatchNorm,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
    NoNorm,
    WeightNorm,
)
from jbatch.models.ghost_norm import _product_sums, ghost_norm, in_one_pass, in_two_passes
from jbatch.models.layers import Conv, Dropout, Linear
from jbatch.models.norm import ChannelNormLayer, Pass, norm_layer
from jbatch.models.pool import MaxPool
from jbatch.plan.layout import AXIS, Layout

RNG = np.random.default_rng(0)
X = RNG.normal(1, 3, (12, 5, 4, 8)).astype(np.float32)
X64 = X.astype(np.float64)
SCALE, BIAS = RNG.normal(1, 0.2, 8).astype(np.float32), RNG.normal(0, 0.2, 8).astype(np.float32)
# Float32 means of some hundred terms, then a division and two products: a few units of 2⁻²⁴ of
# values up to 10.
TOLERANCE = 1e-5


def affine_layer(norm):
    layer = norm_layer(norm, 8)
    layer.scale[...], layer.bias[...] = jnp.array(SCALE), jnp.array(BIAS)
    return layer


def centred(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def layout(size, group, devices=1):
    return Pass(Layout(size, devices, group), None)


@pytest.mark.parametrize("group", [12, 4, 1])
def test_ghost_batch_norm(group):
    layer = affine_layer(GhostBatchNorm(group))
    found = layer(X, layout(12, group))
    groups = X64.reshape(12 // group, -1, 8)
    expected = centred(groups, (1,)).reshape(X.shape) * SCALE + BIAS
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    # What it leaves are the sums over ghost batches of their statistics.
    np.testing.assert_allclose(layer.mean[...], groups.mean(1).sum(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.var[...], groups.var(1).sum(0), rtol=1e-5)


@pytest.mark.parametrize("shape", [(8,), (3, 2, 8)])
@pytest.mark.parametrize(("devices", "group"), [(1, 16), (1, 4), (8, 4), (8, 16)])
def test_ghost_batch_norm_s_gradient_is_that_of_its_formula(devices, group, shape):
    x, weights = RNG.normal(1, 3, (2, 32, *shape))
    axes = tuple(range(1, len(shape) + 1))

    def formula(x, scale, bias):  # in float64, on one device
        groups = x.reshape(32 // group, group, *shape)
        mean = groups.mean(axes, keepdims=True)
        var = jnp.square(groups - mean).mean(axes, keepdims=True)
        y = (groups - mean) / jnp.sqrt(var + 1e-5) * scale + bias
        return (y.reshape(x.shape) * weights).sum()

    with jax.enable_x64(True):
        expected = jax.grad(formula, (0, 1, 2))(
            *(jnp.array(values, jnp.float64) for values in (x, SCALE, BIAS))
        )
        expected = jax.device_get(expected)

    layout = Layout(32, devices, group)
    places = np.concatenate([layout.places(device) for device in range(devices)])

    def on_device(x, weights, scale, bias):
        def loss(x, scale, bias):
            shift = jnp.zeros_like(scale)
            return (ghost_norm(layout, 1e-5, None, x, scale, bias, shift)[0] * weights).sum()

        to_x, *to_both = jax.grad(loss, (0, 1, 2))(x, scale, bias)
        return to_x, *jax.lax.psum(to_both, AXIS)

    mesh = meshes.make_mesh(jax.devices()[:devices])
    mapped = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(PartitionSpec(AXIS), PartitionSpec(AXIS), PartitionSpec(), PartitionSpec()),
        out_specs=(PartitionSpec(AXIS), PartitionSpec(), PartitionSpec()),
        check_vma=False,
    )
    given = [jnp.array(each, jnp.float32) for each in (x[places], weights[places], SCALE, BIAS)]
    found = jax.jit(mapped)(*given)
    # Sums of up to 96 products of values up to 30, in float32.
    for name, one, other in zip(
        ("x", "scale", "bias"), found, (expected[0][places], *expected[1:]), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("off", [0, 1, 30, 1000])
def test_statistics_of_one_pass_are_those_of_two(off):
    """With a shift that is `off` standard deviations from the mean."""
    groups, layout = X.reshape(3, 4, 5, 4, 8), Layout(12, 1, 4)
    spread = X64.std((0, 1, 2))
    shift = (X64.mean((0, 1, 2)) - off * spread).astype(np.float32)
    exact = X64.reshape(3, 80, 8)
    one, two = (
        [np.asarray(each).reshape(3, 8) for each in statistics]
        for statistics in (
            jax.jit(partial(in_one_pass, layout))(groups, shift),
            jax.jit(partial(in_two_passes, layout))(groups),
        )
    )
    # Sums of 80 float32 terms, in any order: relative to (x − s)², up to 16 units of 2⁻²⁴, of
    # which the variance is one part in 1 + off². Group means lie within a standard deviation of the
    # mean of all.
    unit = 16 * 2.0**-24
    for found, slack in ((one, (1 + off) ** 2), (two, 1)):
        rounding = unit * (1 + off) * spread.max()
        np.testing.assert_allclose(found[0], exact.mean(1), rtol=0, atol=rounding)
        relative = np.abs(found[1] / exact.var(1) - 1)
        assert relative.max() <= 2 * unit * (1 + slack)


def test_the_variance_of_one_pass_is_not_negative():
    groups = np.full((1, 4, 3, 3, 8), 0.1, np.float32)
    shift = np.linspace(-3, 3, 8, dtype=np.float32)
    _, var = in_one_pass(Layout(4, 1, 4), groups, shift)
    assert np.asarray(var).min() >= 0


# A channel whose scale is negative takes the smallest pixel of a window; of one whose scale is 0,
# all pixels are equal afterwards.
SIGNED = np.array([1, -1, 0.5, -0.5, 0, 2, -2, 1], np.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("training", [layout(12, 4), None])
def test_a_pool_before_the_norm_gives_the_same_as_after_it(dtype, training):
    pool, x = MaxPool(3, 2, pad=True), jnp.array(X, dtype)
    one, other = affine_layer(GhostBatchNorm(4)), affine_layer(GhostBatchNorm(4))
    one.scale[...] = other.scale[...] = jnp.array(SIGNED)
    found, expected = one(x, training, pool), pool(nnx.relu(other(x, training)))
    np.testing.assert_array_equal(nnx.relu(found), expected)
    np.testing.assert_array_equal(one.mean[...], other.mean[...])
    np.testing.assert_array_equal(one.var[...], other.var[...])


@pytest.mark.parametrize("group", [12, 4])
def test_its_gradient_is_that_of_a_pool_after_it(group):
    pool, scale = MaxPool(3, 2, pad=True), np.where(SIGNED == 0, 1, SIGNED)  # no equal pixels
    weights = RNG.normal(0, 1, (12, 3, 2, 8))

    def formula(x, scale, bias):  # in float64
        groups = x.reshape(12 // group, -1, 8)
        mean, var = groups.mean(1, keepdims=True), groups.var(1, keepdims=True)
        y = (groups - mean) / jnp.sqrt(var + 1e-5) * scale + bias
        return (nnx.relu(pool(y.reshape(x.shape))) * weights).sum()

    def before(x, scale, bias):
        shift = jnp.zeros_like(scale)
        y = ghost_norm(Layout(12, 1, group), 1e-5, pool, x, scale, bias, shift)[0]
        return (nnx.relu(y) * weights.astype(np.float32)).sum()

    with jax.enable_x64(True):
        given = [jnp.array(each, jnp.float64) for each in (X, scale, BIAS)]
        expected = jax.device_get(jax.jit(jax.grad(formula, (0, 1, 2)))(*given))
    found = jax.jit(jax.grad(before, (0, 1, 2)))(*map(jnp.array, (X, scale, BIAS)))
    # Sums of up to 72 products of values up to 10, in float32.
    for name, one, other in zip(("x", "scale", "bias"), found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=name)


def test_ghost_batch_norm_evaluates_by_its_running_statistics():
    layer = affine_layer(GhostBatchNorm())
    layer.mean[...], layer.var[...] = jnp.array(BIAS), jnp.square(jnp.array(SCALE))
    expected = (X64 - BIAS) / np.sqrt(SCALE.astype(np.float64) ** 2 + 1e-5) * SCALE + BIAS
    np.testing.assert_allclose(layer(X, None), expected, rtol=0, atol=2 * TOLERANCE)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_group_norm(groups):
    found = affine_layer(GroupNorm(groups))(X, None)
    expected = centred(X64.reshape(12, 20, groups, -1), (1, 3)).reshape(X.shape) * SCALE + BIAS
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_layer_norm():
    expected = centred(X64, (1, 2, 3)) * SCALE + BIAS
    np.testing.assert_allclose(affine_layer(LayerNorm())(X, None), expected, atol=TOLERANCE)
    dense = X[:, 0, 0]  # after a fully connected layer
    expected = centred(dense.astype(np.float64), (1,)) * SCALE + BIAS
    np.testing.assert_allclose(affine_layer(LayerNorm())(dense, None), expected, atol=TOLERANCE)


@pytest.mark.parametrize("size", [5, 3, 2])
def test_local_response_norm(size):
    norm = LocalResponseNorm(size, k=1.5, alpha=0.02, beta=0.6)
    expected = np.empty_like(X64)
    for channel in range(8):
        first = max(0, channel - size // 2)
        last = min(8, channel - size // 2 + size)
        sums = (X64[..., first:last] ** 2).sum(-1)
        expected[..., channel] = X64[..., channel] / (1.5 + 0.02 * sums) ** 0.6
    np.testing.assert_allclose(norm_layer(norm, 8)(X, None), expected, rtol=0, atol=TOLERANCE)


def test_no_norm_is_the_identity():
    assert norm_layer(NoNorm(), 8)(X, None) is X


def test_weight_norm_is_length_times_direction():
    layer = Linear(WeightNorm(), 6, 8, rngs=nnx.Rngs(0))
    kernel = np.asarray(layer.kernel[...], np.float64)
    np.testing.assert_allclose(layer.weights(jnp.float32), kernel, rtol=1e-6)  # at the start
    layer.gain[...] = jnp.array(SCALE)
    layer.kernel[...] = layer.kernel[...] * 3  # its length does not count
    expected = SCALE * kernel / np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(layer.weights(jnp.float32), expected, rtol=0, atol=1e-6)
    conv = Conv(WeightNorm(), 3, 8, 3, rngs=nnx.Rngs(0))
    assert conv.gain[...].shape == (8,)


def test_a_bias_only_where_no_norm_takes_it_away():
    def biased(norm):
        return Conv(norm, 3, 8, 3, rngs=nnx.Rngs(0)).bias is not None

    assert all(map(biased, (NoNorm(), WeightNorm(), LocalResponseNorm())))
    assert not any(map(biased, (GhostBatchNorm(), GroupNorm(8), LayerNorm())))


def test_groups_must_divide_the_channels():
    with pytest.raises(Mistake, match="32 groups do not divide a layer of 48 channels"):
        norm_layer(GroupNorm(), 48)


@pytest.mark.parametrize(
    "norm", [GhostBatchNorm(4), GroupNorm(2), LayerNorm(), LocalResponseNorm()], ids=repr
)
def test_statistics_are_float32_whatever_is_computed_in(norm):
    """A mean far above the spread, where bfloat16 statistics would be nothing but rounding."""
    far = (1000 + X).astype(jnp.bfloat16)
    layer = norm_layer(norm, 8)
    found = layer(far, layout(12, 4))
    assert found.dtype == jnp.bfloat16
    expected = norm_layer(norm, 8)(far.astype(jnp.float32), layout(12, 4))
    np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))


def test_dropout_is_keyed_by_example():
    keys = jax.random.split(jax.random.key(0), 12)
    dropout = Dropout(0.25)
    x = np.ones((12, 4000), np.float32)
    found = np.asarray(dropout(x, Pass(None, keys)))
    assert set(np.unique(found)) == {0, np.float32(1 / 0.75)}
    # Of 48,000 draws the share dropped has a deviation of 0.002.
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal(dropout(x[3:5], Pass(None, keys[3:5])), found[3:5])
    assert not np.array_equal(Dropout(0.25, 1)(x, Pass(None, keys)), found)
    assert dropout(x, None) is x


def test_channel_norm_is_flaxs_layer_norm():
    layer, flaxs = ChannelNormLayer(1e-6, 8), nnx.LayerNorm(8, epsilon=1e-6, rngs=nnx.Rngs(0))
    for each in (layer, flaxs):
        each.scale[...], each.bias[...] = jnp.array(SCALE), jnp.array(BIAS)
    np.testing.assert_allclose(layer(jnp.array(X)), flaxs(jnp.array(X)), atol=TOLERANCE)


def test_stochastic_depth_drops_whole_examples():
    x = jnp.ones((400, 3, 2))
    keys = jax.random.split(jax.random.key(0), 400)
    found = np.asarray(Dropout(0.25, whole=True)(x, Pass(Layout(400, 1, 1), keys)))
    assert set(np.unique(found)) == {0, np.float32(1 / 0.75)}
    kept = found.any((1, 2))
    assert (found[kept] > 0).all()
    assert 265 < kept.sum() < 335  # within four deviations of 300
    assert Dropout(0.25, whole=True)(x, None) is x


def test_without_scale_batch_norm_only_adds_its_bias():
    layer, whole = (norm_layer(GhostBatchNorm(4, scale=scale), 8) for scale in (False, True))
    assert layer.scale is None
    layer.bias[...] = whole.bias[...] = jnp.array(BIAS)
    for training in (Pass(Layout(12, 1, 4), None), None):
        np.testing.assert_array_equal(layer(jnp.array(X), training), whole(jnp.array(X), training))


@pytest.mark.parametrize("rows", [1, 4095, 4096, 4097])
def test_sums_of_long_and_short_groups(rows):
    """Products with short vectors of ones have two rows of them."""
    groups = np.random.default_rng(0).normal(size=(1, rows, 1, 3)).astype(np.float32)
    found = jax.jit(_product_sums)(groups)
    # n roundings of partial sums of √n numbers' size: n/√2 units at most, beside √n.
    expected = groups.sum(1, dtype=np.float64, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=rows * 2.0**-24)
