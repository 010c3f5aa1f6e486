"""Run the whole suite, as `jbatch bench` does: one process for each benchmark, one page."""

import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from benchmarks import summary
from benchmarks.outcome import run_other
from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.report.page import template

# Benchmarks of speed. `soak` tests recovery and `check` compares with a baseline.
OF_THE_MACHINE = (
    *("updates_per_second", "peers", "phase_change", "cold_start", "growth", "scaling"),
    "input_pipeline",
)
SUITE = (
    *OF_THE_MACHINE,
    *("micro_batch", "accumulation", "open_task", "input_memory", "plan_building", "seeds"),
    *("estimate", "measured_noise", "noisy_quadratic"),
)


@dataclass(frozen=True)
class Options:
    """Run the benchmarks, one process for each, and write one page of results.

    The whole suite takes most of an hour on two CPU cores, and with --quick under five minutes.

    For example: jbatch bench --only peers growth --out bench
    """

    out: Path = Path("bench")
    """Folder for the page, and for each benchmark's JSON and figure."""
    only: tuple[Literal[SUITE], ...] | None = None
    """Benchmarks to run. None: all, or with --quick those that tell what this machine does."""
    quick: bool = False
    """Make few and short measurements: what this machine does, roughly."""

    @property
    def names(self) -> tuple[str, ...]:
        """The benchmarks to run."""
        everything = OF_THE_MACHINE if self.quick else SUITE
        return everything if self.only is None else self.only


def main(options: Options) -> int:
    """Run the suite; return 0, or 1 if a benchmark failed."""
    if not options.names:
        raise Mistake(f"--only names none: give some of {', '.join(SUITE)}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"--out {options.out} cannot be made: {error.strerror}") from error
    failed = [
        name
        for name in options.names
        if not run_other(name, to=options.out / f"{name}.json", quick=options.quick)
    ]
    print(write_page(options.out, [name for name in options.names if name not in failed], failed))
    return 1 if failed else 0


def write_page(folder: Path, names: Sequence[str], failed: Sequence[str] = ()) -> Path:
    """Write the page from stored results."""
    found = [_read(folder / f"{name}.json") for name in names]
    first = summary.lines({each["name"]: each for each in found})
    environments = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in each["environment"].items())
        for each in found
    )
    page = template("suite.html.jinja", Path(__file__).parent).render(
        title="Benchmarks of jbatch",
        first=first,
        found=found,
        failed=failed,
        environments=environments,
    )
    path = folder / "bench.html"
    write_whole(path, page)
    return path


def _read(path: Path) -> dict:
    found = json.loads(path.read_text())
    title, _, rest = found["about"].partition("\n")
    drawn = path.with_suffix(".svg")
    svg = b64encode(drawn.read_bytes()).decode() if found["caption"] else ""
    return found | {"name": path.stem, "title": title, "rest": rest.strip(), "svg": svg}


if __name__ == "__main__":
    try:
        sys.exit(
            main(tyro.cli(Options, prog="jbatch bench", config=(tyro.conf.FlagCreatePairsOff,)))
        )
    except Mistake as mistake:
        print(f"jbatch: {mistake}", file=sys.stderr)
        sys.exit(2)
