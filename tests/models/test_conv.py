"""The convolution against float64, under JAX's transformations, and on each platform."""

import re
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec

import jbatch
from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.models.conv import canonical, on_cpu, products, stock, taps, winograd
from jbatch.models.conv.geometry import Geometry
from jbatch.models.conv.primitives import kernel_gradient

UNIT = 2.0**-24  # half of a float32's last digit
MAPS = ("convolved", "input_gradient", "kernel_gradient")


def limit(terms: int) -> float:
    """Bound the error's root mean square, as a share of the result's, of a sum of so many terms.

    Its n partial sums of √k terms' size each round by UNIT: √Σk · UNIT = n/√2 · UNIT in all, beside
    a result of √n. Winograd's transforms add up to 4×4 values before and 3×3 after the products:
    twelve roundings of values up to four times a result's, √12 · 4 = 14 units.
    """
    return (14 + terms**0.5) * UNIT


def geometry_of(image, size, stride=1, padding=1, precision="highest"):
    edges = padding if isinstance(padding, tuple) else ((padding, padding),) * 2
    return Geometry(image, (size, size), (stride, stride), edges, precision)


def arrays(geometry, count, fan_in, fan_out, seed=0):
    """Return x, kernel and g, float32."""
    rng = np.random.default_rng(seed)
    shapes = (
        (count, *geometry.image, fan_in),
        (*geometry.size, fan_in, fan_out),
        (count, *geometry.output, fan_out),
    )
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def exact(geometry, x, kernel, g):
    """Return the three maps in float64."""
    x, kernel, g = (np.asarray(each, np.float64) for each in (x, kernel, g))
    (top, bottom), (left, right) = geometry.padding
    (down, along), (rows, columns) = geometry.stride, geometry.output
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y, to_x, to_kernel = np.zeros_like(g), np.zeros_like(x), np.zeros_like(kernel)
    for i, j in product(*map(range, geometry.size)):
        seen = np.s_[
            :, i : i + down * (rows - 1) + 1 : down, j : j + along * (columns - 1) + 1 : along
        ]
        y += x[seen] @ kernel[i, j]
        to_x[seen] += g @ kernel[i, j].T
        to_kernel[i, j] = np.einsum("nhwc,nhwk->ck", x[seen], g)
    height, width = geometry.image
    return y, to_x[:, top : top + height, left : left + width], to_kernel


def assert_near(found, expected, terms, more=0.0):
    error = np.sqrt(np.square(np.asarray(found, np.float64) - expected).mean())
    size = np.sqrt(np.square(expected).mean())
    assert error <= (limit(terms) + more) * size


SHAPES = st.tuples(
    st.integers(1, 7),  # examples
    st.tuples(st.integers(3, 9), st.integers(3, 9)),  # an image, odd or even
    st.integers(1, 9),  # channels in
    st.integers(1, 9),  # channels out
    st.integers(1, 5),  # examples of a chunk, which need not divide them
)
EDGES = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)


@settings(max_examples=12)
@given(SHAPES, EDGES)
def test_winograd_is_exact_to_float32(shapes, padding):
    count, image, fan_in, fan_out, examples = shapes
    geometry = geometry_of(image, 3, padding=padding)
    x, kernel, g = arrays(geometry, count, fan_in, fan_out)
    y, _, to_kernel = exact(geometry, x, kernel, g)
    convolved = jax.jit(winograd.convolved, static_argnums=(2, 3))
    found = convolved(x, kernel, padding, examples)
    assert_near(found, y, 9 * fan_in)
    gradient = jax.jit(winograd.kernel_gradient, static_argnums=(2, 3))
    found = gradient(x, g, padding, examples)
    assert_near(found, to_kernel, g[..., 0].size)


@settings(max_examples=12)
@given(SHAPES, EDGES, st.integers(1, 3), st.integers(1, 3))
def test_products_are_exact_to_float32(shapes, padding, size, stride):
    count, image, fan_in, fan_out, examples = shapes
    geometry = geometry_of(image, size, stride, padding)
    x, kernel, g = arrays(geometry, count, fan_in, fan_out)
    expected = exact(geometry, x, kernel, g)[2]
    gradient = jax.jit(products.kernel_gradient, static_argnums=(2, 3))
    found = gradient(x, g, geometry, examples)
    assert_near(found, expected, g[..., 0].size)


@settings(max_examples=12)
@given(SHAPES, EDGES, st.integers(1, 3), st.integers(1, 3))
def test_gradients_in_xla_s_form_are_exact_to_float32(shapes, padding, size, stride):
    count, image, fan_in, fan_out, _ = shapes
    geometry = geometry_of(image, size, stride, padding)
    x, kernel, g = arrays(geometry, count, fan_in, fan_out)
    _, to_x, to_kernel = exact(geometry, x, kernel, g)
    found = jax.jit(canonical.input_gradient, static_argnums=2)(g, kernel, geometry)
    assert_near(found, to_x, size * size * fan_out)
    found = jax.jit(canonical.kernel_gradient, static_argnums=2)(x, g, geometry)
    assert_near(found, to_kernel, g[..., 0].size)


def test_gradients_leave_the_compiler_no_form_to_change():
    """It changes none in the body of a loop, and computes others by naive code there."""
    geometry = geometry_of((9, 8), 3, stride=2)
    x, kernel, _ = arrays(geometry, 3, 5, 7)
    gradient = jax.grad(lambda *at: jbatch.conv(*at, 2, geometry.padding).sum(), (0, 1))
    forms = re.findall(
        r"dim_numbers = (\S.*?), window", jax.jit(gradient).lower(x, kernel).as_text()
    )
    assert set(forms) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert len(forms) >= 2


@settings(max_examples=12)
@given(SHAPES, EDGES, st.integers(1, 3), st.integers(1, 3))
def test_taps_are_exact_to_float32(shapes, padding, size, stride):
    count, image, fan_in, fan_out, _ = shapes
    geometry = geometry_of(image, size, stride, padding)
    x, kernel, g = arrays(geometry, count, fan_in, fan_out)
    found = jax.jit(taps.convolved, static_argnums=2)(x, kernel, geometry)
    assert_near(found, exact(geometry, x, kernel, g)[0], size * size * fan_in)


@pytest.mark.parametrize(
    ("count", "image", "fan_in", "fan_out", "size", "stride", "padding", "own"),
    [
        (3, (7, 8), 64, 70, 3, 1, 1, MAPS),  # a batch that chunks do not divide, an odd image
        (1, (8, 8), 64, 64, 3, 1, 1, MAPS),
        (2, (9, 7), 64, 64, 3, 1, 0, MAPS),
        (3, (8, 8), 63, 64, 3, 1, 1, ()),  # few channels
        (3, (9, 8), 3, 64, 3, 2, 1, MAPS[:1]),  # an image's channels
        (3, (8, 8), 5, 16, 3, 1, 1, ()),
        (129, (16, 15), 16, 20, 3, 2, 1, MAPS[2:]),
        (64, (8, 8), 16, 20, 1, 1, 0, MAPS[2:]),
        (130, (15, 16), 20, 16, 1, 2, 0, MAPS[2:]),
        (63, (8, 8), 16, 20, 1, 1, 0, ()),  # few pixels
        (2, (8, 8), 64, 64, 5, 1, 2, ()),
    ],
)
def test_what_computes_a_shape(count, image, fan_in, fan_out, size, stride, padding, own):
    """Each shape takes what was measured to be fastest, with the same result."""
    geometry = geometry_of(image, size, stride, padding)
    x, kernel, g = map(jnp.array, arrays(geometry, count, fan_in, fan_out))
    operands = ((x, kernel), (g, kernel), (x, g))
    area = size * size
    terms = area * fan_in, area * fan_out, g[..., 0].size
    expected = exact(geometry, x, kernel, g)
    for name, given_, exactly, count in zip(MAPS, operands, expected, terms, strict=True):
        function = partial(getattr(on_cpu, name), geometry=geometry)
        assert ("conv_general_dilated" not in str(jax.make_jaxpr(function)(*given_))) == (
            name in own
        )
        assert_near(jax.jit(function)(*given_), exactly, count)


def test_half_precision_is_rounded_once():
    """Products and sums are float32, so a result rounds by at most 2⁻⁹ of itself."""
    geometry = geometry_of((7, 8), 3)
    x, kernel, g = (jnp.array(each, jnp.bfloat16) for each in arrays(geometry, 3, 64, 64))
    y, pull = jax.vjp(partial(jbatch.conv, padding=geometry.padding), x, kernel)
    for found, expected in zip((y, *pull(g)), exact(geometry, x, kernel, g), strict=True):
        assert found.dtype == jnp.bfloat16
        assert_near(found, expected, 1000, more=2.0**-9)


WIDE = geometry_of((5, 6), 3)
X, KERNEL, G = map(jnp.array, arrays(WIDE, 4, 64, 64))
conv = partial(jbatch.conv, padding=WIDE.padding)


def usual(x, kernel):
    return stock.convolved(x, kernel, WIDE)


def assert_same(found, expected):
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert mine.shape == theirs.shape
        # Both are within the limit of what is exact, for sums of up to 9 · 64 terms.
        assert_near(mine, np.asarray(theirs, np.float64), 4 * 9 * 64)


def loss(function, kernel, x):
    return jnp.sin(function(x, kernel) / 24).sum()  # 24 = √(9 · 64), the size of a result


def test_derivatives_of_any_order():
    def product_with_hessian(function):  # forward over reverse, as for sharpness
        gradient = jax.grad(partial(loss, function), (0, 1))
        return jax.jvp(gradient, (KERNEL, X), (KERNEL[::-1], X[::-1]))

    def of_the_gradient(function):  # reverse over reverse
        gradient = jax.grad(partial(loss, function), (0, 1))
        return jax.grad(lambda *at: sum((g**2).sum() for g in gradient(*at)), (0, 1))(KERNEL, X)

    assert_same(jax.jit(product_with_hessian, static_argnums=0)(conv), product_with_hessian(usual))
    assert_same(jax.jit(of_the_gradient, static_argnums=0)(conv), of_the_gradient(usual))
    remat = jax.grad(partial(loss, jax.checkpoint(conv)))(KERNEL, X)
    assert_same(remat, jax.grad(partial(loss, usual))(KERNEL, X))


def test_mapped_examples_are_one_batch():
    """The gradient of a mapped score sees all examples at once, as the open task needs."""
    images = X.reshape(2, 2, *X.shape[1:])  # groups, examples

    def total(function, kernel):
        return jax.vmap(jax.vmap(partial(loss, function, kernel)))(images).sum()

    found = jax.make_jaxpr(jax.grad(partial(total, conv)))(KERNEL)
    assert [
        equation.invars[0].aval.shape
        for equation in found.eqns
        if equation.primitive is kernel_gradient
    ] == [X.shape]
    expected = jax.grad(partial(loss, usual))(KERNEL, X)
    assert_same(jax.jit(jax.grad(partial(total, conv)))(KERNEL), expected)


def test_other_maps():
    """Of kernels, and of gradients of each example."""
    kernels, images = jnp.stack([KERNEL, 2 * KERNEL]), X.reshape(2, 2, *X.shape[1:])
    for axes, given_ in (((None, 0), (X, kernels)), ((0, 0), (images, kernels))):
        assert_same(jax.vmap(conv, axes)(*given_), jax.vmap(usual, axes)(*given_))

    def of_each(function):
        gradient = jax.grad(partial(loss, function), (0, 1))
        return jax.jit(jax.vmap(gradient, (None, 0)))(KERNEL, images)

    assert_same(of_each(conv), of_each(usual))


def test_over_devices():
    mesh = meshes.make_mesh(jax.devices()[:2])
    [axis] = mesh.axis_names

    def summed(function, kernel, x):
        return jax.lax.psum(jax.grad(partial(loss, function))(kernel, x), axis)

    expected = jax.grad(partial(loss, usual))(KERNEL, X)
    sharded = jax.shard_map(
        partial(summed, conv),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(axis)),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    assert_same(jax.jit(sharded)(KERNEL, X), expected)
    mapped = jax.pmap(partial(summed, conv), axis, in_axes=(None, 0), devices=jax.devices()[:2])
    assert_same(mapped(KERNEL, X.reshape(2, 2, *X.shape[1:]))[0], expected)


def test_the_platform_of_the_program_decides():
    """Not that of this machine: jbatch compiles for absent TPUs."""
    traced = jax.jit(jax.grad(partial(loss, conv))).trace(KERNEL, X)
    for platform, own in (("cpu", True), ("tpu", False), ("cuda", False)):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) != own
        assert ("stablehlo.while" in text) == own


def test_precision_is_that_of_the_call():
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(jax.grad(partial(loss, conv))).trace(KERNEL, X)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(convolutions) == 2
    assert all(line.count("HIGHEST") == 2 for line in convolutions)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2, "padding": "VALID"},
        {"kernel_dilation": 2},
        {"feature_group_count": 2},
        {"precision": "highest"},
        {"preferred_element_type": jnp.float32},
    ],
    ids=str,
)
def test_flax_layers(options):
    def layer(**more):
        return nnx.Conv(64, 64, (3, 3), rngs=nnx.Rngs(0), **options, **more)

    own, theirs = layer(conv_general_dilated=jbatch.conv), layer()
    assert_same(own(X), theirs(X))
    assert_same(own(X[0]), theirs(X[0]))


def test_shapes_and_dtypes():
    assert_same(jbatch.conv(X[0], KERNEL), usual(X, KERNEL)[0])
    for stride, padding in product((1, np.int64(2), (2, 1)), ("SAME", "VALID")):
        strides = stride if isinstance(stride, tuple) else (stride, stride)
        expected = lax.conv_general_dilated(
            X, KERNEL, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        assert_same(jbatch.conv(X, KERNEL, stride, padding), expected)
    line = nnx.Conv(64, 8, (3,), rngs=nnx.Rngs(0), conv_general_dilated=jbatch.conv)  # (N, W, C)
    assert line(X[:, 0]).shape == (4, 6, 8)
    assert jbatch.conv(X[:0], KERNEL).shape == (0, *X.shape[1:])
    with jax.enable_x64(True):
        wide = [jnp.asarray(each, jnp.float64) for each in (X, KERNEL)]
        found = jbatch.conv(*wide)
        assert found.dtype == jnp.float64
        assert np.abs(found - exact(WIDE, X, KERNEL, G)[0]).max() < 1e-10


@pytest.mark.parametrize("stride", [0, -1, 1.5, None, "22", (1, 0), (2.0, 2.0), (1, 1, 1)])
def test_a_stride_that_is_none_is_refused(stride):
    with pytest.raises(Mistake, match=r"stride is .*: give (one|a whole|a sequence of whole) num"):
        jbatch.conv(X, KERNEL, stride)


@pytest.mark.parametrize(
    "padding", [1, "SMAE", (1, 1), ((1, 1),), ((1, 1), (1,)), (1, (1, 1)), ((1.5, 1), (1, 1))]
)
def test_a_padding_that_is_none_is_refused(padding):
    with pytest.raises(Mistake, match=r"padding is .*: give one of SAME, SAME_LOWER, VALID, or p"):
        jbatch.conv(X, KERNEL, 1, padding)
