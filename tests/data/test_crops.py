"""Which part of a photograph is seen."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jbatch.data.image.crops import AREA, ASPECT, Box, central_crop, random_crop

SIDES = st.integers(1, 5000)


def test_golden_boxes():
    """Pinned: a change here changes every run on photographs that anybody has."""
    assert [random_crop(0, position, 375, 500) for position in (0, 1, 10**9)] == GOLDEN
    assert random_crop(1, 0, 375, 500) != GOLDEN[0]


GOLDEN = [Box(54, 48, 281, 348), Box(90, 45, 282, 280), Box(89, 36, 279, 292)]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**62), SIDES, SIDES)
def test_every_box_lies_within(seed, position, height, width):
    for box in (random_crop(seed, position, height, width), central_crop(0.875, height, width)):
        assert 0 <= box.top <= height - box.height
        assert 0 <= box.left <= width - box.width
        assert min(box.height, box.width) >= 1


def test_areas_and_aspects_are_spread_as_the_paper_says():
    boxes = [random_crop(3, position, 400, 400) for position in range(2000)]
    areas = np.array([box.height * box.width for box in boxes]) / 400**2
    aspects = np.log([box.width / box.height for box in boxes])
    assert AREA[0] - 0.01 < areas.min() < 0.1
    assert 0.95 < areas.max() <= AREA[1]
    assert np.abs(aspects).max() < math.log(ASPECT[1]) + 0.02  # whole pixels
    assert abs(aspects.mean()) < 0.02  # deviation 0.17, so ± 0.004
    # Every place of the photograph is seen, the middle most often.
    seen = np.zeros((400, 400))
    for box in boxes:
        seen[box.top : box.top + box.height, box.left : box.left + box.width] += 1
    assert seen.min() > 0
    assert seen[200, 200] > 1.5 * seen[20, 20]


def test_a_very_long_photograph_is_seen_in_its_middle():
    assert random_crop(0, 0, 10, 5000) == Box(0, 2493, 10, 13)


def test_the_central_square_is_that_of_resizing_to_256_and_cropping_224():
    assert central_crop(0.875, 256, 341) == Box(16, 58, 224, 224)
    assert central_crop(1.0, 30, 20) == Box(5, 0, 20, 20)
