"""Flips that alternate, reflected edges, and views of test images."""

import jax
import numpy as np
import pytest
from flax import nnx

from jbatch import Arrays, Augment, Classify, Mistake, Source, Views
from jbatch.data.batch import Batch
from jbatch.data.image.augment import augment, turned
from jbatch.data.image.views import seen
from jbatch.data.keys import example_keys, example_turns
from jbatch.data.open import load
from jbatch.data.order import epoch_order
from jbatch.models import MLP
from jbatch.plan.layout import AXIS, Layout

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 255, (300, 4, 3, 2)).astype(np.uint8)
LABELS = np.arange(300) % 3
DATA = {"image": IMAGES, "label": LABELS}


def flipped(epoch, places, seed=5):
    """Whether each image of the dataset at these places is mirrored, by its index."""
    data = load(Arrays(DATA, DATA))
    order = epoch_order(seed, epoch, 300)
    train, placed = jax.device_put((DATA, order))

    def on_device(where):
        layout = Layout(len(places), 1, 1)
        batch = data.inputs.batch(layout, train, placed, np.uint32(seed), where)
        return turned(batch.examples["image"], batch.turns)

    where = np.array((epoch, places.start), np.uint32)
    [found] = jax.jit(jax.vmap(on_device, axis_name=AXIS))(where[None])
    which = {}
    for index, image in zip(order[places.start : places.stop], np.asarray(found), strict=True):
        same, mirrored = (np.array_equal(image, IMAGES[index][:, ::s]) for s in (1, -1))
        assert same != mirrored
        which[int(index)] = mirrored
    return which


def test_every_image_is_mirrored_in_every_other_epoch():
    first, second, third = (flipped(epoch, range(300)) for epoch in range(3))
    assert all(second[index] is not mirrored for index, mirrored in first.items())
    assert third == first
    assert 120 < sum(first.values()) < 180  # of 300, within 3.5 standard deviations of half
    part = flipped(1, range(100, 180))  # alone, or in another batch
    assert part == {index: second[index] for index in part}
    assert flipped(0, range(300), seed=6) != first


def test_turns_count_epochs_and_wrap_around():
    turns = [
        int(example_turns(np.uint32(0), np.uint32(epoch), np.arange(1, dtype=np.int32))[0])
        for epoch in (0, 1, 2**32 - 1)
    ]
    assert turns[1] == (turns[0] + 1) % 2**32
    assert turns[2] == (turns[0] - 1) % 2**32


def test_shifts_reflect_the_edges():
    keys = example_keys(np.uint32(0), np.uint32(0), np.arange(300, dtype=np.uint32))
    images = RNG.integers(0, 256, (300, 4, 5, 1)).astype(np.uint8)
    changed = jax.jit(lambda: augment(Augment(pad=2, edges="reflected"), images, keys))()
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    places = {
        next(
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(before[down : down + 4, right : right + 5], after)
        )
        for before, after in zip(padded, np.asarray(changed), strict=True)
    }
    assert len(places) == 25


def test_views_are_the_published_six():
    """Jordan's test-time augmentation: mirrored or not, half of it from two shifts."""
    views = seen(Views(flip=True, shift=1), np.asarray(IMAGES[:2]))
    padded = np.pad(IMAGES[:2], ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    moved = [IMAGES[:2], padded[:, :4, :3], padded[:, 2:, 2:]]
    assert [weight for weight, _ in views] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    for (_, found), expected in zip(
        views, [each[:, :, ::s] for each in moved for s in (1, -1)], strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_logits_of_views_are_averaged_for_both_kinds_of_networks():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.out = nnx.Linear(24, 3, rngs=rngs)

        def __call__(self, image):
            return nnx.relu(self.out(image.reshape(-1)))

    about = load(Arrays(DATA, DATA)).about
    for model in (MLP((5,)), Net):
        plain = Classify(model).fitted(about)
        several = Classify(model, views=Views(flip=True, shift=1)).fitted(about)
        params, state = plain.init(jax.random.key(0), plain.prepare(about.example.zeros(), None))
        example = {"image": IMAGES[0], "label": LABELS[0]}
        found = several.predict(params, state, example)
        expected = sum(
            weight * np.asarray(plain.predict(params, state, example | {"image": view[0]}))
            for weight, view in seen(Views(flip=True, shift=1), IMAGES[:1])
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        given = params, state, Batch({"image": IMAGES, "label": LABELS}, None), np.ones(300, bool)
        alone, both = plain.evaluate(*given), several.evaluate(*given)
        assert both["plain_accuracy"] == alone["accuracy"]
        assert "plain_accuracy" not in alone


def test_what_does_not_fit_is_refused():
    about = load(Arrays(DATA, DATA)).about
    with pytest.raises(Mistake, match="pad is 3, but images of 4×3 pixels can be reflected by at"):
        Classify(MLP(), augment=Augment(pad=3, edges="reflected")).fitted(about)
    with pytest.raises(Mistake, match=r"views.shift is 3, but images of 4×3 pixels can be moved"):
        Classify(MLP(), views=Views(shift=3)).fitted(about)
    with pytest.raises(Mistake, match="flip and alternating_flip are both given: give one"):
        Augment(flip=True, alternating_flip=True)
    with pytest.raises(Mistake, match="edges is 'mirrored': give 'zeros' or 'reflected'"):
        Augment(edges="mirrored")
    records = [{"image": image, "label": 0} for image in IMAGES]
    source = Source(records, records, lambda record, rng: record, workers=0, num_classes=3)
    with pytest.raises(Mistake, match="alternating_flip needs data in memory, because a stream"):
        Classify(MLP(), normalize="none", augment=Augment(alternating_flip=True)).fitted(
            load(source).about
        )
