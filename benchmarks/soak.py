"""Kill a run again and again, and compare it with an undisturbed run.

The benchmark starts `jbatch train experiments/digits.py increasing`, kills it (SIGKILL) at a random
moment and repeats this until it has killed the run often enough or the run has finished. Then it
lets the run finish. Parameters and metrics must be bit-identical to those of the undisturbed run.
It prints where the kills hit the run, and their cost.

    python -m benchmarks.soak                      50 kills, about 6 minutes on two cores
    python -m benchmarks.soak --quick              5
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro

from jbatch.run.goodput import account_text, read_account
from jbatch.run.metrics import TIMED, read_metrics
from jbatch.text import text_table

EXPERIMENT = ("experiments/digits.py", "increasing")


@dataclass(frozen=True)
class Options:
    """Kill a run at random moments, and check that its result does not change."""

    kills: int = 50
    """Number of kills."""
    epochs: int = 60_000
    """Epochs of the run; it must be long enough for all kills."""
    most_seconds: float = 6.0
    """Maximum seconds from a start to a kill."""
    seed: int = 0
    """Seed of the random moments."""
    quick: bool = False
    """Kill a short run five times."""
    json: Path | None = None
    """Write the results to this file."""


def start(directory: Path, epochs: int) -> subprocess.Popen:
    """Start the run, or resume it."""
    options = ["--plan.num-epochs", str(epochs), "--save-every", "50"]
    options += ["--eval-every", "70", "--log-every", "10"]
    command = (sys.executable, "-m", "jbatch", "train", *EXPERIMENT, "--run-dir", directory)
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *options], text=True, **output)


def finish(directory: Path, epochs: int) -> float:
    """Finish a run; return the seconds it takes."""
    begun = time.monotonic()
    process = start(directory, epochs)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(said)
    return time.monotonic() - begun


def outcome(directory: Path) -> tuple[str, list[dict]]:
    """Return the digest of the final parameters, and the metrics without times."""
    command = (sys.executable, "-m", "jbatch", "eval", directory, "--json")
    values = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    lines = [
        {name: value for name, value in line.items() if name not in TIMED}
        for line in read_metrics(directory / "metrics.jsonl")
    ]
    return values["parameters_digest"], lines


def met(directory: Path) -> str:
    """Return where a kill hit the run."""
    if not (directory / "run.json").exists():
        return "before the run directory was made"
    if list((directory / "checkpoints").glob("*-tmp*")):
        return "while a checkpoint was written"
    return "at another moment"


def main(options: Options) -> None:
    kills, epochs = (5, 15_000) if options.quick else (options.kills, options.epochs)
    draw = random.Random(options.seed).uniform
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        undisturbed = finish(alone, epochs)
        moments, begun = Counter(), time.monotonic()
        while moments.total() < kills:
            process = start(killed, epochs)
            time.sleep(draw(0, options.most_seconds))
            process.kill()
            process.communicate()
            if process.returncode == 0:
                raise SystemExit(f"it finished after {moments.total()} kills: give more --epochs")
            moments[met(killed)] += 1
        finish(killed, epochs)
        disturbed = time.monotonic() - begun
        same = outcome(killed) == outcome(alone)
        account = read_account(killed / "goodput.jsonl")
    print(text_table(("killed", "times"), [(what, str(n)) for what, n in moments.most_common()]))
    print(f"\nalone {undisturbed:.0f} s, with {moments.total()} kills {disturbed:.0f} s")
    print(account_text(account))
    print(f"parameters and metrics bit for bit the same: {'yes' if same else 'NO'}")
    if options.json is not None:
        figures = {"kills": moments, "account": account, "same": same}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
