"""How an update is cut into passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbatch.errors import Mistake
from jbatch.plan.layout import group_size
from jbatch.plan.passes import MOST_SHAPES, cut


def sizes_of(made):
    return {size: [layout.size for layout in passes.layouts] for size, passes in made.items()}


def test_whole_batches_without_a_limit():
    made = cut([128, 640], 8, 128, None)
    assert sizes_of(made) == {128: [128], 640: [640]}
    assert all(passes.whole for passes in made.values())


def test_a_limit_cuts_into_whole_ghost_batches():
    made = cut([128, 640, 3200], 1, 128, 400)
    assert sizes_of(made) == {128: [128], 640: [128] * 5, 3200: [128] * 25}
    made = cut([128, 640, 3200], 1, None, 400)
    assert sizes_of(made) == {128: [128], 640: [320] * 2, 3200: [400] * 8}
    assert [passes.whole for passes in made.values()] == [True, False, False]


def test_a_limit_under_a_ghost_batch_is_refused():
    with pytest.raises(Mistake, match="micro_batch 8 is under 16"):
        cut([128], 8, 128, 8)


def test_hundreds_of_sizes_are_composed_of_eight_shapes():
    made = cut(range(128, 65_537, 128), 8, 32, None)
    assert len(shapes_of(made)) == MOST_SHAPES
    assert sizes_of(made)[128 * 7] == [512, 256, 128]
    assert sizes_of(made)[65_152] == [128 * 2**7] * 3 + [128 * 2**k for k in (6, 5, 4, 3, 2, 0)]
    assert max(len(passes.layouts) for passes in made.values()) == 10
    assert not any(passes.whole for passes in made.values())


def test_sizes_under_the_ghost_batch_keep_their_own_shapes():
    made = cut([4, 8, *range(16, 16 * 12, 16)], 1, 16, None)
    assert len(shapes_of(made)) <= MOST_SHAPES
    assert sizes_of(made)[4] == [4]
    assert sizes_of(made)[176] == [128, 32, 16]


def test_too_many_sizes_under_the_ghost_batch_are_refused():
    with pytest.raises(Mistake, match="9 of the plan's batch sizes are under the ghost batch"):
        cut([*range(1, 10), 16], 1, 16, None)


def shapes_of(made):
    return {layout for passes in made.values() for layout in passes.layouts}


@given(
    st.sets(st.integers(1, 400), min_size=1, max_size=30),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([None, 4, 24]),
    st.one_of(st.none(), st.integers(24, 200)),
)
def test_passes_make_up_their_update(factors, devices, ghost, limit):
    sizes = [factor * devices * (ghost or 1) for factor in factors]
    made = cut(sizes, devices, ghost, limit)
    assert len(shapes_of(made)) <= MOST_SHAPES
    for size, passes in made.items():
        assert sum(layout.size for layout in passes.layouts) == size
        for layout in passes.layouts:
            assert layout.size % layout.group == 0
            assert layout.group == group_size(size, ghost)
            assert layout.size % devices == 0
            assert limit is None or layout.per_device <= limit
