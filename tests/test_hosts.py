"""Training by several processes, as on several hosts."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from photographs import write_folder

SCRIPT = Path(__file__).parent / "one_host.py"


def train(folder, count) -> list[dict]:
    """What each of `count` processes says of the same run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, folder, str(count), str(process), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(count)
    ]
    outcomes = [process.communicate(timeout=120) for process in processes]
    for process, (_, err) in zip(processes, outcomes, strict=True):
        assert process.returncode == 0, err
    # What Gloo prints comes first.
    return [json.loads(out.splitlines()[-1]) for out, _ in outcomes]


@pytest.mark.slow
def test_one_host_and_two_train_alike_on_streamed_photographs(tmp_path):
    write_folder(tmp_path, 96, 25)
    [alone] = train(tmp_path, 1)
    first, second = train(tmp_path, 2)
    assert first == second  # parameters bit for bit
    assert alone["num_examples"] == first["num_examples"] == 25
    # Sums of two hosts are added in another order: 45 updates of rounding.
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert first["accuracy"] == alone["accuracy"]
