"""Measure peak memory of a run on streamed photographs, with its workers, by batch size.

The input sends a micro-batch to the devices as soon as it is decoded, so a larger batch should need
no more memory. Each batch size trains a small perceptron on 224×224 photographs in a separate
process, in passes of 16 examples on each of 8 devices. Links repeat the folder's photographs to
200,000. Memory is the proportional set size (PSS) of all processes, read ten times a second. Linux
only.

    python -m benchmarks.input_memory --folder imagenette2 --json input_memory.json
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import jax
import optax
from matplotlib.figure import Figure

from benchmarks.input_pipeline import Options as Photographed
from benchmarks.input_pipeline import prepared
from benchmarks.outcome import Common, Outcome, Table
from benchmarks.outcome import run as measure
from jbatch.data.image.photographs import ImageFolder, Photographs
from jbatch.experiment.experiment import Coupling, Experiment
from jbatch.models import MLP
from jbatch.report.drawing import STYLES
from jbatch.run.loop import run_until
from jbatch.run.start import open_run
from jbatch.task.classify import Classify

NUM_EXAMPLES, MICRO_BATCH, DEVICES = 200_000, 16, 8


@dataclasses.dataclass(frozen=True)
class Options(Common):
    """Measure peak memory of a run on streamed photographs, by batch size."""

    folder: Path | None = None
    """Image folder of train/CLASS/*. None: write photograph-like noise of 500×375 pixels."""
    sizes: tuple[int, ...] = (256, 16_384)
    """Batch sizes."""
    examples: int = 49_152
    """Examples to train on at each batch size."""


def main(options: Options) -> Outcome:
    """Measure; with --quick one batch of each size."""
    with tempfile.TemporaryDirectory() as directory:
        photographs = prepared(Photographed(folder=options.folder), Path(directory))
        folder = repeated(photographs, Path(directory) / "repeated")
        rows = []
        for size in options.sizes:
            updates = 1 if options.quick else max(1, options.examples // size)
            peak, first = peak_of(folder, size, updates)
            rows.append({"batch_size": size, "updates": updates, "peak_bytes": peak} | first)
    cells = [
        (
            f"{row['batch_size']:,}",
            f"{row['updates']:,}",
            f"{row['peak_bytes'] / 2**30:.2f}",
            f"{row['peak_bytes'] / rows[0]['peak_bytes']:.2f}",
            f"{row['batch_size'] * 224 * 224 * 3 / 2**30:.2f}",
        )
        for row in rows
    ]
    header = ("batch", "updates", "peak GiB", "over the first", "GiB of one batch, as uint8")
    return Outcome([Table(header, cells)], {"rows": rows, "seeds": [0]}, (), lambda: _figure(rows))


def _figure(rows: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    sizes = [row["batch_size"] for row in rows]
    axes.semilogx(sizes, [row["peak_bytes"] / 2**30 for row in rows], marker="o", **STYLES[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("batch size, photographs")
    axes.set_ylabel("peak memory, GiB")
    return "Peak memory of trainer and workers together.", figure


def repeated(photographs: Path, folder: Path) -> Path:
    """Make an image folder of links that repeat the same photographs."""
    files = sorted((photographs / "train").glob("*/*"))
    for split, count in (("train", NUM_EXAMPLES), ("val", DEVICES)):
        (folder / split / "all").mkdir(parents=True)
        for number, path in enumerate(islice(cycle(files), count)):
            (folder / split / "all" / f"{number:06}.jpg").symlink_to(path.absolute())
    return folder


def peak_of(folder: Path, size: int, updates: int) -> tuple[int, dict]:
    """Train in another process; return (peak bytes, its output)."""
    command = [sys.executable, "-m", "benchmarks.input_memory", "train", folder, size, updates]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, tree(process.pid))))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.returncode)
    return peak, json.loads(process.stdout.read())


def tree(pid: int) -> list[int]:
    """List a process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        for thread in threads:
            children += (thread / "children").read_text().split()
    except OSError:  # the process ended
        return []
    return [pid, *(found for child in set(children) for found in tree(int(child)))]


def proportional_bytes(pid: int) -> int:
    """Return a process's proportional set size: shared memory is divided among its users."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    [line] = [line for line in text.splitlines() if line.startswith("Pss:")]
    return 1024 * int(line.split()[1])


def train(folder: Path, size: int, updates: int) -> None:
    """Train, in the measured process."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    experiment = Experiment(
        plan=Coupling(
            schedule=optax.constant_schedule(1e-4),
            num_examples=NUM_EXAMPLES,
            num_epochs=1,
            batch_size=size,
            batch_sizes=(size,),
        ),
        task=Classify(MLP(hidden=(16,))),
        data=Photographs(ImageFolder(folder)),
        micro_batch=MICRO_BATCH,
        eval_every=10,
    )
    with tempfile.TemporaryDirectory() as directory:
        begun = time.perf_counter()
        with open_run(experiment, Path(directory) / "run") as run:
            run_until(run, updates)
            seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        measure(main, Options, __doc__)
