"""Which device holds which place of an update."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from jbatch.plan.layout import Layout, group_size, nearest_batch_sizes, why_not


@st.composite
def layouts(draw):
    devices = draw(st.sampled_from([1, 2, 3, 4, 6, 8, 16]))
    group = draw(st.sampled_from([None, 1, 8, 12, 32, 128]))
    size = devices * draw(st.integers(1, 64))
    assume(why_not(size, devices, group) is None)
    return Layout(size, devices, group_size(size, group))


@given(layouts())
def test_every_place_is_on_one_device(made):
    places = np.concatenate([made.places(device) for device in range(made.devices)])
    assert sorted(places) == list(range(made.size))


@given(layouts())
def test_groups_are_consecutive_places_and_stay_within_their_block(made):
    share = made.group // made.span
    for block in made.blocks:
        held = np.stack([made.places(device) for device in block])  # (span, per_device)
        groups = held.reshape(made.span, made.groups_per_device, share) // made.group
        # Every device of a block holds the same groups, in order, and s shares make each whole.
        first = groups[0, 0, 0]
        expected = first + np.arange(made.groups_per_device)[None, :, None]
        np.testing.assert_array_equal(groups, np.broadcast_to(expected, groups.shape))
    assert sum(len(block) for block in made.blocks) == made.devices


def test_groups_of_128_in_640_on_8_devices_span_all():
    made = Layout(640, 8, 128)
    assert (made.groups, made.span, made.groups_per_device, made.per_device) == (5, 8, 5, 80)
    assert list(made.places(1)[:17]) == [*range(16, 32), 144]


def test_without_ghost_batches_devices_hold_neighbours():
    made = Layout(64, 8, 1)
    assert made.span == 1
    assert list(made.places(3)) == list(range(24, 32))


def test_one_group_when_the_batch_is_smaller():
    made = Layout(32, 4, group_size(32, 128))
    assert (made.groups, made.group, made.span) == (1, 32, 4)


def test_says_why_not():
    assert why_not(100, 8, None) == "does not divide over 8 devices"
    assert why_not(192, 8, 128) == "is not made of whole ghost batches of 128"
    assert why_not(640, 8, 128) is None


def test_nearest_sizes():
    assert nearest_batch_sizes(100, 8, None, 1000) == (96, 104)
    assert nearest_batch_sizes(200, 8, 128, 1000) == (128, 256)
    assert nearest_batch_sizes(1000, 16, None, 1000) == (992,)
    assert nearest_batch_sizes(3, 8, None, 1000) == (8,)
