"""Sums over the devices of a mesh."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbatch.devices import meshes, sums
from jbatch.devices.spmd import on_each
from jbatch.devices.sums import whole_sum

MESH = meshes.make_mesh(meshes.all_devices())


def summed():
    return jax.jit(on_each(lambda tree: (whole_sum(tree),), MESH, (True,), (False,)))


def test_the_devices_sum_each_array(monkeypatch):
    tree = {
        "a": np.arange(8, dtype=np.float32),
        "b": [np.full((8, 3, 5), 0.5, np.float32), np.arange(16, dtype=np.int32).reshape(8, 2)],
        "c": jnp.ones((8, 2), jnp.bfloat16),
    }
    for small in (2, 1000):  # alone, and together
        monkeypatch.setattr(sums, "SMALL", small)
        [found] = summed()(tree)
        for got, given in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
            assert got.dtype == given.dtype
            np.testing.assert_array_equal(got, np.asarray(given).sum(0, dtype=given.dtype))


@pytest.mark.parametrize(("large", "meetings"), [(2**17, 1), (2**17 + 1, 2)])
def test_cpu_devices_meet_once_for_all_small_arrays(large, meetings):
    tree = {name: np.ones((8, 4), np.float32) for name in "abc"}
    tree["d"] = np.ones((8, large), np.float32)
    text = summed().lower(tree).as_text()
    assert len(re.findall("all_reduce", text)) == meetings


def test_accelerators_add_up_arrays_as_they_are():
    tree = {name: np.ones((8, 4), np.float32) for name in "abc"}
    text = summed().trace(tree).lower(lowering_platforms=("tpu",)).as_text()
    assert "concatenate" not in text
    assert "all_reduce" in text
