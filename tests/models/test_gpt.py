"""The transformer for text: its size, its start, and what it looks at."""

from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbatch import GPT, Mistake
from jbatch.models.gpt import rotated
from jbatch.task.modules import module_of
from jbatch.task.next_token import Built

KEY = jax.random.key(0, impl="threefry2x32")
SMALL = GPT(layers=2, heads=2, width=16)
LLAMA = GPT(2, 2, 16, "rotary", "rms", "swiglu", tied=False)


def made(gpt, vocabulary, sequence, dtype="float32"):
    """(the network as functions, random parameters of its shapes)"""
    module = module_of(Built(gpt, vocabulary, sequence, dtype))
    draw = np.random.default_rng(0).normal
    shapes = jax.eval_shape(lambda: module.init(KEY, None)[0])
    return module, jax.tree.map(lambda leaf: draw(0, 0.2, leaf.shape).astype(np.float32), shapes)


def size(gpt, vocabulary, sequence):
    """Number of parameters, from those of one and of two blocks: building 48 takes long."""

    def of(layers):
        module = module_of(Built(replace(gpt, layers=layers), vocabulary, sequence, "float32"))
        shapes = jax.eval_shape(lambda: module.init(KEY, None)[0])
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    return of(1) + (gpt.layers - 1) * (of(2) - of(1))


@pytest.mark.parametrize(
    ("gpt", "vocabulary", "sequence", "published"),
    [
        # nanoGPT's transformer_sizing.ipynb, compared there with PyTorch's count.
        (GPT(), 50_257, 1024, 124_337_664),
        # GPT-2 as released, which nanoGPT loads.
        (GPT(12, 12, 768, bias=True), 50_257, 1024, 124_439_808),
        (GPT(24, 16, 1024, bias=True), 50_257, 1024, 354_823_168),
        (GPT(36, 20, 1280, bias=True), 50_257, 1024, 774_030_080),
        (GPT(48, 25, 1600, bias=True), 50_257, 1024, 1_557_611_200),
    ],
)
def test_as_many_parameters_as_published(gpt, vocabulary, sequence, published):
    assert size(gpt, vocabulary, sequence) == published


def test_nanogpts_shakespeare_on_a_cpu():
    """nanoGPT prints "0.80M", without the position embedding."""
    gpt = GPT(4, 4, 128)
    assert round((size(gpt, 65, 64) - 64 * 128) / 1e6, 2) == 0.80


def test_the_start_is_gpt_2s():
    gpt = GPT(layers=1, heads=4, width=128)
    module, _ = made(gpt, 65, 64)
    params = jax.jit(lambda: module.init(KEY, None)[0])()
    # 8,320 normal draws and more: their deviation is known to 0.8%. Four times that.
    assert params["tokens"]["embedding"].std() == pytest.approx(0.02, rel=0.03)
    for block in params["blocks"].values():
        for name in ("queries_keys_values", "wide"):
            assert block[name]["kernel"].std() == pytest.approx(0.02, rel=0.03)
        for name in ("attended", "narrow"):
            assert block[name]["kernel"].std() == pytest.approx(0.02 / 2**0.5, rel=0.03)
    logits = logits_of(module, params)(jnp.arange(64, dtype=jnp.int32))
    assert -jax.nn.log_softmax(logits).mean() == pytest.approx(np.log(65), abs=0.1)


def logits_of(module, params):
    @jax.jit
    def logits(tokens):
        return module.apply(params, {}, None, lambda network: network(tokens))[0]

    return logits


@pytest.mark.parametrize(
    ("gpt", "dtype"), [(SMALL, "float32"), (LLAMA, "float32"), (LLAMA, "bfloat16")]
)
def test_no_token_sees_a_later_one(gpt, dtype):
    network = logits_of(*made(gpt, 11, 8, dtype))
    tokens = jnp.array([1, 2, 3, 4, 5, 6, 7, 8], jnp.int32)
    before = network(tokens)
    assert before.dtype == dtype
    for place in range(8):
        after = network(tokens.at[place].set(10))
        same = (np.asarray(before) == np.asarray(after)).all(1)
        assert same[:place].all()
        assert not same[place:].any()


def test_rotary_products_depend_on_the_distance_alone():
    x, y = np.random.default_rng(0).normal(size=(2, 1, 3, 8)).astype(np.float32)
    turn = jax.jit(rotated)
    turned, other = (np.asarray(turn(np.repeat(each, 6, axis=0))) for each in (x, y))  # (6, 3, 8)
    products = np.einsum("thk,shk->tsh", turned, other)
    for distance in range(-3, 4):
        along = [products[t, t + distance] for t in range(6) if 0 <= t + distance < 6]
        # Sums of eight products of numbers of about 1 in float32.
        np.testing.assert_allclose(along, [along[0]] * len(along), rtol=0, atol=1e-5)
    assert not np.allclose(products[0, 0], products[0, 1])


def test_mapped_over_examples_it_computes_as_a_batch():
    """One product for each layer and its two gradients; one scatter for the embedding."""
    module, params = made(SMALL, 11, 8)

    def loss(params, tokens):
        def one(tokens):
            return module.apply(params, {}, None, lambda network: network(tokens))[0].sum()

        return jax.vmap(one)(tokens).sum()

    tokens = jnp.zeros((5, 8), jnp.int32)
    counts = Counter(_operations(jax.make_jaxpr(jax.grad(loss))(params, tokens).jaxpr))
    # Of two blocks, each has four layers of one product and attention's two; and the head.
    kinds = ("dense", "dense_input_gradient", "dense_kernel_gradient")
    assert [counts[kind] for kind in kinds] == 3 * [2 * 4]
    assert counts["dot_general"] == 3 * (2 * 2 + 1)
    assert counts["scatter-add"] == 2  # of tokens and of positions
    assert not {"while", "scan"} & set(counts)


def _operations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _operations(inner)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 5}, "width 768 is no multiple of heads 5"),
        ({"width": 36, "positions": "rotary"}, "a head has 3"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(Mistake, match=message):
        GPT(**arguments)
