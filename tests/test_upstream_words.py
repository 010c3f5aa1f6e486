"""The words of libraries that jbatch acts on, against the real libraries.

PEER_LOST and TOO_LATE need several processes (test_cluster.py), WORKER_DIED a worker that is killed
(data/test_streamed.py), METADATA a checkpoint of an adaptive run (run/test_adaptive_runs.py).
"""

import asyncio
from pathlib import PurePath

import jax
import jax.numpy as jnp
import pytest
import simplejpeg
from orbax.checkpoint.utils import TMP_DIR_SUFFIX

from jbatch.upstream_words import LOOP_CLOSED, OUT_OF_MEMORY, ROWS_LEFT, UNFINISHED
from photographs import encoded, picture


def test_out_of_memory():
    with pytest.raises(jax.errors.JaxRuntimeError, match=OUT_OF_MEMORY):
        jnp.zeros(1 << 45, jnp.float32).block_until_ready()


def test_a_closed_event_loop():
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match=f"^{LOOP_CLOSED}$"):
        loop.call_soon(print)


def test_an_unfinished_checkpoint(tmp_path):
    name = f"37{TMP_DIR_SUFFIX}1"
    assert PurePath(name).match(UNFINISHED)


def test_rows_are_left_in_a_scan():
    data = encoded(picture(1, 64, 64))
    place = data.index(b"\xff\xc0") + 5
    with pytest.raises(ValueError, match=ROWS_LEFT):
        simplejpeg.decode_jpeg(data[:place] + (20).to_bytes(2) + data[place + 2 :])
