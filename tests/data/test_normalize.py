"""Normalization of images against plain NumPy."""

from typing import get_args

import numpy as np
import pytest

from jbatch.data.image.normalize import Normalize, affine, affine_of, normalized

IMAGES = np.random.default_rng(0).integers(20, 200, (50, 4, 4, 3)).astype(np.uint8)
WIDE = IMAGES.astype(np.float64)


def seen(normalize, images=IMAGES):
    return np.asarray(normalized(normalize, images, *affine(normalize, images)))


def test_standardize_is_per_channel_of_the_training_set():
    mean, deviation = WIDE.mean((0, 1, 2)), WIDE.std((0, 1, 2))
    np.testing.assert_allclose(seen("standardize"), (WIDE - mean) / deviation, atol=1e-5)


def test_min_max_is_per_channel_of_the_training_set():
    low, high = WIDE.min((0, 1, 2)), WIDE.max((0, 1, 2))
    found = seen("min-max")
    np.testing.assert_allclose(found, (WIDE - low) / (high - low), atol=1e-6)
    assert found.min() == 0
    assert found.max() == 1


def test_per_image_is_of_each_image_alone():
    axes = (1, 2, 3)
    expected = (WIDE - WIDE.mean(axes, keepdims=True)) / WIDE.std(axes, keepdims=True)
    np.testing.assert_allclose(seen("per-image"), expected, atol=1e-5)
    np.testing.assert_array_equal(seen("per-image")[:3], seen("per-image", IMAGES[:3]))


def test_a_logarithm_is_of_each_value_alone():
    expected = np.log(1 + WIDE) / np.log(256)
    np.testing.assert_allclose(seen("logarithm"), expected, rtol=1e-6)
    np.testing.assert_allclose(seen("logarithm", np.uint8([[[[0, 255]]]])), [[[[0, 1]]]], rtol=1e-6)


def test_none_leaves_the_values():
    np.testing.assert_array_equal(seen("none"), IMAGES.astype(np.float32))


@pytest.mark.parametrize("normalize", ["standardize", "min-max", "per-image"], ids=repr)
def test_a_blank_image_stays_finite(normalize):
    assert not seen(normalize, np.full((5, 2, 2, 1), 7, np.uint8)).any()


@pytest.mark.parametrize("normalize", get_args(Normalize), ids=repr)
def test_what_is_told_of_a_set_does_what_is_found_in_it(normalize):
    """Of a set that holds every value, its mean and deviation are all there is to know."""
    images = np.random.default_rng(3).permuted(np.arange(768).reshape(4, 8, 8, 3) // 3, axis=0)
    images = images.astype(np.uint8)
    mean, deviation = images.mean((0, 1, 2)), images.std((0, 1, 2))
    told = affine_of(normalize, tuple(mean), tuple(deviation))
    for mine, theirs in zip(told, affine(normalize, images), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
        assert mine.dtype == np.float32
