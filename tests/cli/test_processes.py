"""Commands as processes: how they begin, end and are cut off."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import TINY, end, start

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


def test_plan_imports_nothing_that_only_training_needs():
    script = (
        "import sys; from jbatch.cli import main; "
        f"main(['plan', {str(EXPERIMENTS / 'digits.py')!r}, 'increasing']); "
        "print([m for m in ('flax.nnx', 'flax.linen', 'orbax', 'tensorflow_datasets', 'sklearn', "
        "'matplotlib', 'tensorboardX', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def in_a_process(script):
    """A program that calls `jbatch.cli.command_line` as the installed one does."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=600
    )
    return done.returncode, done.stderr


def test_an_early_ctrl_c_ends_at_once():
    assert in_a_process(
        "import os, signal, time; from jbatch import cli\n"
        "cli.main = lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(10**6)\n"
        "cli.command_line()"
    ) == (130, "jbatch: SIGINT: stopped before anything was saved\n")


def test_what_stdout_cannot_encode_is_escaped():
    code, out, err = end(start("plan", TINY, "growing", PYTHONIOENCODING="ascii"))
    assert (code, err) == (0, "")
    assert "\\u2013" in out


def test_a_run_that_stops_does_not_wait_for_what_is_being_compiled():
    code, err = in_a_process(
        "import time; from concurrent.futures import ThreadPoolExecutor\n"
        "from jbatch import cli\nfrom jbatch.step import aot\n"
        "pool = ThreadPoolExecutor(1, aot.THREADS); pool.submit(time.sleep, 10**6)\n"
        "pool.shutdown(wait=False); cli.main = lambda: 75\n"
        "cli.command_line()"
    )
    assert (code, err) == (75, "")


@pytest.mark.slow
def test_training_goes_on_when_nobody_reads_its_messages(tmp_path):
    warned = ("--plan.momentum", 0.98)
    with start("train", TINY, "growing", "--run-dir", tmp_path / "run", *warned) as process:
        process.stderr.close()
        assert process.wait(timeout=120) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["update"] == 98


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_written_is_one_message(trained, tmp_path, jbatch):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "report.html").mkdir()
    code, _, err = jbatch("report", run)
    assert code == 2
    assert re.fullmatch(r"jbatch: .*report\.html: Is a directory\n", err)
    assert not list(run.glob("*.tmp"))
