"""How an update is cut into passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbatch.errors import Mistake
from jbatch.layout import group_size
from jbatch.micro_batch import MOST_SHAPES, pass_layouts


def test_whole_batches_without_a_limit():
    made = pass_layouts([128, 640], 8, 128, None)
    assert {size: layout.size for size, layout in made.items()} == {128: 128, 640: 640}


def test_a_limit_cuts_into_whole_ghost_batches():
    made = pass_layouts([128, 640, 3200], 1, 128, 400)
    assert {size: layout.size for size, layout in made.items()} == {128: 128, 640: 128, 3200: 128}
    made = pass_layouts([128, 640, 3200], 1, None, 400)
    assert {size: layout.size for size, layout in made.items()} == {128: 128, 640: 320, 3200: 400}


def test_a_limit_under_a_ghost_batch_is_refused():
    with pytest.raises(Mistake, match="micro_batch 8 is under 16"):
        pass_layouts([128], 8, 128, 8)


def test_hundreds_of_sizes_share_eight_shapes():
    sizes = range(128, 65_537, 128)
    made = pass_layouts(sizes, 8, 32, None)
    assert len(set(made.values())) <= MOST_SHAPES
    assert made[65_536].size == 128 * 2**7
    assert made[128 * 3].size == 128


def test_sizes_without_a_common_part_are_refused():
    # Under the ghost batch a size is one group; over it, a number of them.
    with pytest.raises(Mistake, match="share no micro-batch"):
        pass_layouts([7, *range(16, 16 * 12, 16)], 1, 16, None)


@given(
    st.sets(st.integers(1, 400), min_size=1, max_size=30),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([None, 4, 24]),
    st.one_of(st.none(), st.integers(24, 200)),
)
def test_passes_make_up_their_update(factors, devices, ghost, limit):
    sizes = [factor * devices * (ghost or 1) for factor in factors]
    made = pass_layouts(sizes, devices, ghost, limit)
    assert len(set(made.values())) <= MOST_SHAPES
    for size, layout in made.items():
        assert size % layout.size == 0
        assert layout.size % layout.group == 0
        assert layout.group == group_size(size, ghost)
        assert layout.size % devices == 0
        assert limit is None or layout.per_device <= limit
