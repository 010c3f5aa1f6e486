"""Resident data: augmentation by position, evaluation batches."""

import jax
import numpy as np
import pytest

from jbatch.data.image.augment import Augment, augment, example_keys
from jbatch.data.image.normalize import affine
from jbatch.data.resident import Resident, evaluation_batch, training_batch
from jbatch.data.sources import Arrays, Digits
from jbatch.errors import Mistake

DIGITS = Digits().load()


def test_digits_are_scikit_learns():
    assert DIGITS.train.images.shape == (1500, 8, 8, 1)
    assert DIGITS.test.images.shape == (297, 8, 8, 1)
    assert DIGITS.train.images.max() == 16
    assert np.bincount(DIGITS.test.labels).min() > 20


@pytest.fixture
def resident():
    return Resident(*DIGITS.train, *affine("standardize", DIGITS.train.images))


def test_augmentation_is_keyed_by_position(resident):
    order = np.arange(1500, dtype=np.int32)

    def take(epoch, places):
        batch = jax.jit(training_batch, static_argnums=(5, 6))(
            resident,
            order,
            np.uint32(0),
            np.uint32(epoch),
            np.array(places, np.uint32),
            Augment(pad=1, flip=True),
            "standardize",
        )
        return np.asarray(batch.images), jax.random.key_data(batch.keys)

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


def test_no_augmentation_changes_nothing(resident):
    images = resident.images[:5]
    assert augment(Augment(), images, None) is images


def test_evaluation_batches_hold_every_example_once(resident):
    counted = []
    for start in range(0, 1500, 400):
        batch, exists = evaluation_batch(resident, np.int32(start), 400, "standardize")
        counted += (start + np.flatnonzero(exists)).tolist()
        np.testing.assert_array_equal(
            np.asarray(batch.labels)[np.asarray(exists)], resident.labels[start : start + 400]
        )
    assert counted == list(range(1500))


IMAGES, LABELS = np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 2, 2])
BAD_ARRAYS = {
    "float images": ((IMAGES / 2, LABELS), "float64 of shape"),
    "flat images": ((IMAGES[:, 0, 0], LABELS), r"give uint8 of shape \(N, H, W, C\)"),
    "too few labels": ((IMAGES, LABELS[:3]), r"integers of shape \(4,\)"),
    "a class too many": ((IMAGES, LABELS + 1), "within 0 to 2"),
}


def test_train_and_test_images_have_one_shape():
    with pytest.raises(Mistake, match=r"\(2, 2, 1\) each, but test_images have \(1, 2, 1\): give"):
        Arrays(IMAGES, LABELS, IMAGES[:, :1], LABELS, num_classes=3).load()


@pytest.mark.parametrize(("train", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_are_checked(train, message):
    with pytest.raises(Mistake, match=message):
        Arrays(*train, IMAGES, LABELS, num_classes=3).load()
