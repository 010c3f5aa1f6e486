"""Resident data: augmentation by position, evaluation batches."""

import jax
import numpy as np
import pytest

from jbatch.data.image.augment import Augment, augment
from jbatch.data.keys import example_keys
from jbatch.data.open import load
from jbatch.data.resident import some
from jbatch.data.sources import Arrays, Digits
from jbatch.errors import Mistake
from jbatch.models import MLP
from jbatch.plan.layout import AXIS, Layout
from jbatch.task.classify import Classify

DIGITS = Digits().load()


def test_digits_are_scikit_learns():
    assert DIGITS.train["image"].shape == (1500, 8, 8, 1)
    assert DIGITS.test["image"].shape == (297, 8, 8, 1)
    assert DIGITS.train["image"].max() == 16
    assert np.bincount(DIGITS.test["label"]).min() > 20


def test_augmentation_is_keyed_by_position():
    data = load(Digits())
    train, order = jax.device_put((DIGITS.train, np.arange(1500, dtype=np.int32)))
    task = Classify(MLP((4,)), augment=Augment(pad=1, flip=True)).fitted(data.about)

    def take(epoch, places):
        def on_device(where):
            layout = Layout(len(places), 1, 1)
            batch = data.inputs.batch(layout, train, order, np.uint32(0), where)
            return task.images(batch.examples["image"], batch.keys), batch.keys

        where = np.array((epoch, places.start), np.uint32)
        [images], [keys] = jax.jit(jax.vmap(on_device, axis_name=AXIS))(where[None])
        return np.asarray(images), jax.random.key_data(keys)

    whole, keys = take(0, range(64))
    # Alone, or in another batch, an example at its position looks the same …
    part, part_keys = take(0, range(10, 20))
    np.testing.assert_array_equal(whole[10:20], part)
    # … and has the same key, of which the network's own random numbers come …
    np.testing.assert_array_equal(keys[10:20], part_keys)
    # … and otherwise in the next epoch.
    later, later_keys = take(1, range(64))
    assert not np.array_equal(whole, later)
    assert not (keys == later_keys).all(1).any()


def test_crops_and_flips_are_of_the_padded_image():
    images = np.random.default_rng(0).integers(1, 255, (300, 3, 3, 2)).astype(np.uint8)
    keys = example_keys(np.uint32(0), np.uint32(0), np.arange(300, dtype=np.uint32))
    changed = augment(Augment(pad=1, flip=True), images, keys)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = set()
    for before, after in zip(padded, np.asarray(changed), strict=True):
        found = [
            (down, right, flip)
            for down in range(3)
            for right in range(3)
            for flip in (1, -1)
            if np.array_equal(before[down : down + 3, right : right + 3][:, ::flip], after)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 18  # every crop, flipped and not


def test_colours_change_as_defined():
    """Against the three formulas in float64, by the factors that the example's key gives."""
    images = np.random.default_rng(1).integers(0, 256, (50, 4, 5, 3)).astype(np.uint8)
    keys = example_keys(np.uint32(0), np.uint32(0), np.arange(50, dtype=np.uint32))
    changed = np.asarray(augment(Augment(color=0.4), images, keys))
    drawn = [
        jax.random.uniform(jax.random.fold_in(key, 1), (3,), minval=0.6, maxval=1.4) for key in keys
    ]
    grey = np.array([0.299, 0.587, 0.114])
    for image, found, (brightness, contrast, saturation) in zip(
        images.astype(float), changed, np.array(drawn, float), strict=True
    ):
        image = (image * brightness).clip(0, 255)
        image = (contrast * image + (1 - contrast) * (image @ grey).mean()).clip(0, 255)
        image = saturation * image + (1 - saturation) * (image @ grey)[..., None]
        np.testing.assert_allclose(found, image.clip(0, 255), atol=1e-3)  # float32, up to 255
    factors = np.array(drawn)
    assert factors.min() < 0.65
    assert factors.max() > 1.35
    both = augment(Augment(color=0.4, flip=True), images, keys)
    turned = [np.array_equal(a[:, ::-1], b) for a, b in zip(changed, both, strict=True)]
    assert 10 < sum(turned) < 40  # the flip is drawn apart


def test_no_augmentation_changes_nothing():
    images = DIGITS.train["image"][:5]
    assert augment(Augment(), images, None) is images


def test_evaluation_batches_hold_every_example_once():
    train, counted = jax.device_put(DIGITS.train), []
    for start in range(0, 1500, 400):
        batch, exists = some(train, np.int32(start), 400)
        counted += (start + np.flatnonzero(exists)).tolist()
        for name, values in DIGITS.train.items():
            found = np.asarray(batch.examples[name])[np.asarray(exists)]
            np.testing.assert_array_equal(found, values[start : start + 400])
    assert counted == list(range(1500))


IMAGES, LABELS = np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 2, 2])
GOOD = {"image": IMAGES, "label": LABELS}
BAD_ARRAYS = {  # of training
    "float images": (
        GOOD | {"image": IMAGES / 2},
        r"\['image'\] is float32 of shape \(2, 2, 1\) and uint8 of shape \(2, 2, 1\): give both",
    ),
    "flat images": (
        GOOD | {"image": IMAGES[:, 0, 0]},
        r"uint8 of shape \(1,\) and uint8 of .*: give",
    ),
    "low images": (
        GOOD | {"image": IMAGES[:, :1]},
        r"of shape \(1, 2, 1\) and .* \(2, 2, 1\): give",
    ),
    "too few labels": (
        GOOD | {"label": LABELS[:3]},
        r"numbers of examples: train\['image'\] has 4, train\['label'\] has 3",
    ),
    "a class too many": (GOOD | {"label": LABELS + 1}, "within 0 to 2"),
    "no labels": ({"image": IMAGES}, r"\['label'\] is None and int32 of shape \(\): give both"),
    "no examples": (
        {name: values[:0] for name, values in GOOD.items()},
        "the train set of Arrays is empty: give at least one example",
    ),
    "no arrays": ({}, "the train set of Arrays holds no array: give at least one"),
    "numbers": ([0], r"train\[0\] of Arrays is 0: give a NumPy array with a leading axis"),
}
BAD_EXAMPLES = {  # of training and test
    "other names": (
        {"x": IMAGES, "y": LABELS},
        "Classify wants examples with 'image' and 'label', but the dataset's have 'x', 'y'",
    ),
    "no names": (IMAGES, "with 'image' and 'label', but the dataset's have no names"),
    "no pixels": (
        GOOD | {"image": IMAGES[:, :0]},
        r"images are uint8 of shape \(0, 2, 1\) each: give",
    ),
    "a number an image": (GOOD | {"image": IMAGES[:, 0, 0, 0]}, r"uint8 of shape \(\) each: give"),
    "masks": (GOOD | {"image": IMAGES > 0}, "the images are bool"),
    "objects": (GOOD | {"image": np.array([None] * 4)}, r"train\['image'\] of Arrays holds object"),
    "no number": (
        GOOD | {"image": np.where(LABELS == 1, np.nan, LABELS)[:, None]},
        r"train\['image'\] of Arrays has NaN or infinity, first in example 1: remove",
    ),
    "large labels": (
        GOOD | {"label": LABELS + 2**40},
        "numbers beyond those of int32: give smaller",
    ),
}


def fitted(train, test):
    return Classify(MLP((4,))).fitted(load(Arrays(train, test, num_classes=3)).about)


@pytest.mark.parametrize(("train", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_are_checked(train, message):
    with pytest.raises(Mistake, match=message):
        fitted(train, GOOD)


@pytest.mark.parametrize(("examples", "message"), BAD_EXAMPLES.values(), ids=BAD_EXAMPLES)
def test_examples_are_checked(examples, message):
    with pytest.raises(Mistake, match=message):
        fitted(examples, examples)
