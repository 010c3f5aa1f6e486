"""Measure a GPU: first that it computes what it should, then how fast.

Each part is another benchmark in a process of its own, which writes its results into the folder as
it ends. The same command goes on with the parts that are missing there. On CPUs it measures the
small CNN, to be tried.

    python -m benchmarks.gpu --out gpu
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.__main__ import write_page
from benchmarks.outcome import mistakes_said, run_other
from jbatch.errors import Mistake

Part = tuple[str, ...]  # a benchmark and its options

OF_GPU: dict[str, Part] = {
    "correctness": ("correctness",),
    "peers-wrn-16-4": ("peers", "--networks", "wrn-16-4", "--windows", "3"),
    "peers-resnet-50": ("peers", "--networks", "resnet-50", "--windows", "3"),
    "wrn-16-4": (
        *("updates_per_second", "--networks", "wrn-16-4", "--sizes", "128", "640", "5120"),
        *("--windows", "5"),
    ),
    "resnet-50": (
        *("updates_per_second", "--networks", "resnet-50", "--sizes", "128", "256"),
        *("--windows", "3"),
    ),
}
OF_CPU: dict[str, Part] = {
    "correctness": ("correctness",),
    "cnn": ("updates_per_second", "--networks", "cnn", "--sizes", "128", "640", "--windows", "5"),
    "peers-cnn": ("peers", "--networks", "cnn", "--windows", "3"),
}


@dataclass(frozen=True)
class Options:
    """Measure a GPU: that it computes what it should, and how fast. Goes on where it stopped."""

    out: Path = Path("gpu")
    """Folder for the page, and for each part's JSON and figure."""
    quick: bool = False
    """Make few and short measurements, to check that every part runs."""


def main(options: Options) -> int:
    """Run the parts that are missing; return 1 if one failed."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"--out {options.out} cannot be made: {error.strerror}") from error
    parts, failed = OF_GPU if _has_gpu() else OF_CPU, []
    for name, (benchmark, *rest) in parts.items():
        path = options.out / f"{name}.json"
        if path.exists():
            print(f"{name}: measured before, in {path}", flush=True)
            continue
        print(f"{name}:", flush=True)
        if not run_other(benchmark, *rest, to=path, quick=options.quick):
            failed.append(name)
    print(write_page(options.out, [name for name in parts if name not in failed], failed))
    return 1 if failed else 0


def _has_gpu() -> bool:
    """Ask a process of its own: this one must not hold the GPU's memory."""
    asked = "import jax; print(jax.devices()[0].platform)"
    found = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() == "gpu"


if __name__ == "__main__":
    with mistakes_said():
        sys.exit(
            main(
                tyro.cli(
                    Options,
                    prog="python -m benchmarks.gpu",
                    description=__doc__,
                    config=(tyro.conf.FlagCreatePairsOff,),
                )
            )
        )
