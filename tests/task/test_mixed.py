"""Images mixed within their group: as defined, and the same in every split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jbatch import Arrays, Augment, Classify, GhostBatchNorm, Mistake, Mix
from jbatch.data.image.augment import erased
from jbatch.data.image.mix import mixed, rectangle
from jbatch.data.keys import example_keys
from jbatch.data.open import load
from jbatch.models import MLP
from jbatch.optim import SGD
from jbatch.task.base import Learner
from jbatch.task.classifier import Labels, cross_entropy
from marks import slow
from small_runs import run_updates, setup_of

RNG = np.random.default_rng(0)
ONE, OTHER = (RNG.normal(size=(8, 6, 2)).astype(np.float32) for _ in range(2))


def keys(count):
    return example_keys(np.uint32(0), np.uint32(0), np.arange(count, dtype=np.uint32))


def mixed_by(mix, count):
    return jax.jit(jax.vmap(lambda key: mixed(mix, ONE, OTHER, key)))(keys(count))


def test_mixup_averages_by_a_share_of_its_distribution():
    images, shares = mixed_by(Mix(mixup=0.4), 800)
    for image, share in zip(np.asarray(images[:50]), shares[:50], strict=True):
        np.testing.assert_allclose(image, share * ONE + (1 - share) * OTHER, atol=1e-6)
    # Beta(α, α) has the mean 1/2 and the variance 1/(4(2α + 1)); of 800, by four deviations.
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * np.sqrt(1 / (4 * 1.8) / 800))
    assert np.var(shares) == pytest.approx(1 / (4 * 1.8), rel=0.15)


def test_cutmix_counts_the_pixels_that_it_takes():
    images, shares = mixed_by(Mix(cutmix=1.0), 300)
    taken = (np.asarray(images) == OTHER).all(-1)
    assert ((np.asarray(images) == ONE).all(-1) ^ taken).all()
    np.testing.assert_allclose(1 - taken.mean((1, 2)), shares, atol=1e-6)
    for one in taken:  # a rectangle
        assert np.array_equal(one, one.any(1)[:, None] & one.any(0)[None])
    corners = taken[:, [0, 0, -1, -1], [0, -1, 0, -1]].any(0)
    assert corners.all()  # it is anywhere


def test_of_both_one_is_chosen_by_chance():
    images, _ = mixed_by(Mix(1.0, 1.0), 200)
    of_both = [np.isin(np.asarray(each), [ONE, OTHER]).all() for each in images]
    assert 70 < sum(of_both) < 130


@pytest.mark.parametrize(("area", "aspect"), [(0.25, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_rectangles_have_their_area_and_aspect(area, aspect):
    sizes = jnp.float32(area), jnp.float32(aspect)
    draw = jax.jit(jax.vmap(lambda key: rectangle(*sizes, key, (16, 8))))
    found = np.asarray(draw(keys(200)))
    height, width = round(16 * np.sqrt(area * aspect)), round(8 * np.sqrt(area / aspect))
    inner = [one for one in found if one.sum() == height * width]
    assert inner  # not cut by the edge
    assert {(one.any(1).sum(), one.any(0).sum()) for one in inner} == {(height, width)}


def test_cutout_erases_a_square_and_erasing_a_share_of_images():
    images = jnp.ones((400, 12, 8, 3))
    by = jax.jit(erased, static_argnums=0)
    holes = np.asarray(by(Augment(cutout=4), images, keys(400))) == 0
    assert holes.sum((1, 2, 3)).max() == 4 * 4 * 3
    assert holes.any(0).all()  # every pixel may be erased
    some = np.asarray(by(Augment(erasing=0.25), images, keys(400))) == 0
    assert 65 < some.any((1, 2, 3)).sum() < 135  # of 400, within four deviations of a quarter
    sizes = some[..., 0].sum((1, 2))
    assert sizes.max() <= 40  # a third of 96, its sides rounded up by half a pixel at most


def test_a_mixed_loss_is_that_of_the_mixed_target():
    logits = jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32)
    own, others = np.array([0, 1, 2, 0, 1]), np.array([1, 1, 0, 2, 0])
    share = RNG.uniform(size=5).astype(np.float32)
    target = share[:, None] * np.eye(3)[own] + (1 - share[:, None]) * np.eye(3)[others]
    target = 0.9 * target + 0.1 / 3
    expected = -(target * np.asarray(jax.nn.log_softmax(logits))).sum(1)
    found = Labels(own, others, share).scored(cross_entropy, logits, 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


IMAGES = RNG.integers(0, 256, (96, 6, 6, 1)).astype(np.uint8)
DATA = load(
    Arrays(*({"image": IMAGES[:n], "label": np.arange(n) % 3} for n in (96, 9)), num_classes=3)
)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.out = nnx.Linear(36, 3, rngs=rngs)

    def __call__(self, image):
        return self.out(image.reshape(-1))


class Normed(Net):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.norm = nnx.BatchNorm(1, axis_name="group", rngs=rngs)


def trained(model, devices=1, passes=1):
    task = Classify(
        model,
        mix=Mix(1.0, 1.0),
        augment=Augment(pad=1, erasing=0.5, alternating_flip=True),
    ).fitted(DATA.about)
    setup = setup_of(Learner(task, DATA.about.example, SGD(), 0.9), devices, data=DATA)
    state, losses = run_updates(setup, batch_size=48, passes=passes, updates=3, data=DATA)
    return state.params, losses


@pytest.mark.parametrize(
    ("model", "devices", "passes"),
    [
        (MLP((8,)), 8, 3),
        slow(Net, 8, 3),
        # Groups of 16, each of which spans both devices.
        slow(MLP((8,), GhostBatchNorm(16)), 2, 3),
    ],
    ids=str,
)
def test_any_split_mixes_the_same(model, devices, passes):
    params, losses = trained(model, devices, passes)
    expected, expected_losses = trained(model)
    # Sums in another order, in three updates: some 1e-6.
    for mine, theirs in zip(*map(jax.tree.leaves, (params, expected)), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=5e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=5e-6)


def test_a_batch_norm_over_pairs_is_refused():
    with pytest.raises(Mistake, match="mix pairs examples, so that the network's batch norm would"):
        Classify(Normed, mix=Mix(mixup=1.0)).fitted(DATA.about)
    Classify(Normed, mix=Mix(mixup=1.0), ghost_batch=16).fitted(DATA.about)
