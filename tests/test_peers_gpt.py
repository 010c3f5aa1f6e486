"""The GPT of each loop that jbatch is compared with: the same loss, the same update."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from benchmarks import gpt, peer_flax_gpt
from jbatch.task.modules import module_of
from jbatch.task.next_token import Built

pytestmark = pytest.mark.usefixtures("standard_promotion")
BATCH = gpt.windows(gpt.text(), np.array([0, 1000, 70_000]))
KEY = jax.random.key(0, impl="threefry2x32")


@pytest.fixture(scope="module")
def known(standard_promotion):
    """(parameters before, parameters after an update of `BATCH`, its loss), as jbatch has them."""
    module = module_of(Built(gpt.NETWORK, gpt.VOCABULARY, gpt.SEQUENCE, "float32"))
    params, state = module.init(KEY, None)

    def loss_of(params):
        def one(tokens):
            return module.apply(params, state, None, lambda network: network(tokens))[0]

        logits = jax.vmap(one)(jnp.asarray(BATCH[:, :-1]))
        return optax.softmax_cross_entropy_with_integer_labels(logits, BATCH[:, 1:]).mean()

    @jax.jit
    def update(params):
        loss, gradient = jax.value_and_grad(loss_of)(params)
        optimizer = gpt.clipped(gpt.RATE, gpt.BETAS[0])
        steps, _ = optimizer.update(gradient, optimizer.init(params), params)
        return optax.apply_updates(params, steps), loss

    after, loss = update(params)
    return params, after, float(loss)


def flat(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        ".".join(jax.tree_util.keystr((key,), simple=True) for key in path): np.asarray(leaf)
        for path, leaf in leaves
    }


def check(before, after, expected, loss, known_loss):
    # Sums of up to 512 products in another order, through four blocks.
    assert float(loss) == pytest.approx(known_loss, rel=1e-5)
    assert after.keys() == expected.keys()
    far = 0
    for name, mine in after.items():
        moved = np.abs(expected[name] - before[name])
        assert moved.max() > 0.1 * gpt.RATE
        # Adam's first step is the rate times the gradient's sign. A gradient near Adam's ε is
        # rounding, and may have the other sign or a part of the step: of few numbers.
        far += (np.abs(mine - expected[name]) > 1e-2 * gpt.RATE).sum()
    assert far < 1e-3 * sum(leaf.size for leaf in after.values())


@pytest.mark.slow
def test_flax(known):
    params, after, loss = known
    model = peer_flax_gpt.Network(jnp.float32, nnx.Rngs(1))
    state = nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.copy, params))
    nnx.update(model, state)
    found = peer_flax_gpt.stepper(model)(jnp.asarray(BATCH))
    trained = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    check(flat(params), flat(trained), flat(after), found, loss)


@pytest.mark.slow
def test_torch(known):
    torch = pytest.importorskip("torch")
    from benchmarks import peer_torch_gpt

    params, after, loss = known
    model = peer_torch_gpt.Network()
    model.load_state_dict(
        {name: torch.from_numpy(leaf.copy()) for name, leaf in renamed(flat(params)).items()}
    )
    batch = torch.from_numpy(BATCH.astype(np.int64))
    optimizer = peer_torch_gpt.optimizer_of(model)
    found = peer_torch_gpt.step(model, model, optimizer, batch)
    trained = {name: leaf.detach().numpy() for name, leaf in model.named_parameters()}
    check(renamed(flat(params)), trained, renamed(flat(after)), found.item(), loss)


def renamed(leaves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """flax's names and (in, out) kernels, as PyTorch's names and (out, in) weights."""
    return {
        f"{name.rpartition('.')[0]}.weight": leaf.T if name.endswith("kernel") else leaf
        for name, leaf in leaves.items()
    }


def test_windows_are_of_the_text():
    assert gpt.text().shape == (gpt.TOKENS,)
    batch = next(peer_flax_gpt.shuffled(3))
    assert batch.shape == (3, gpt.SEQUENCE + 1)
    joined = gpt.text().tobytes()
    assert all(row.astype(np.uint16).tobytes() in joined for row in batch)
