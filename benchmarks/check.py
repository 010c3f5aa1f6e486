"""Check whether anything has become slower: compare the suite's ratios with a baseline.

A ratio compares loops that took turns on the same machine, so it carries over to other machines
better than a time does. Still, make the baseline on a machine of the same kind. The check names
each ratio that fell by more than the noise of both, and exits with 1. Do not trust it on a busy
machine.

    python -m benchmarks.check                          measure, and compare with baselines.json
    python -m benchmarks.check --from bench/*.json      compare stored results
    python -m benchmarks.check --write                  make three runs the baseline
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from benchmarks.outcome import Ratio, mistakes_said, program, run_other
from jbatch.errors import Mistake
from jbatch.files import write_whole
from jbatch.text import text_table

BASELINES = Path(__file__).with_name("baselines.json")
MEASURED = {  # the benchmarks that give ratios, about half an hour on two cores
    "updates_per_second": ("--networks", "mlp", "cnn", "--sizes", "32", "128", "640"),
    "peers": ("--networks", "mlp", "cnn", "wrn-16-4"),
    "accumulation": ("--times", "2", "16"),
    "micro_batch": (),
    "phase_change": (),
    "cold_start": ("--networks", "digits", "cnn"),
    "input_pipeline": (),
}
RUNS = 3  # of a baseline
LEAST = 0.05  # smallest fall that is named, however steady both were


@dataclass(frozen=True)
class Options:
    """Check whether anything has become slower than the committed baselines."""

    measured: Annotated[tuple[Path, ...] | None, tyro.conf.arg(name="from")] = None
    """JSON files of earlier runs; several of one benchmark are its runs. None: measure now."""
    baselines: Path = BASELINES
    """Baseline file to compare with."""
    write: bool = False
    """Write the measurements as the new baseline instead, of three runs."""


class Change(NamedTuple):
    """Hold the change of a ratio since its baseline."""

    name: str
    before: Ratio
    now: Ratio

    @property
    def noise(self) -> float:
        """Return half the sum of both interquartile ranges; at least `LEAST` of the baseline."""
        spread = sum(each.high - each.low for each in (self.before, self.now)) / 2
        return max(spread, LEAST * self.before.median)

    @property
    def fell(self) -> bool:
        """Return whether the ratio fell by more than its noise."""
        return self.before.median - self.now.median > self.noise


def merged(runs: Iterable[Mapping[str, Ratio]]) -> dict[str, Ratio]:
    """Return each ratio over several runs: the median of medians, and the widest quartiles."""
    of: dict[str, list[Ratio]] = {}
    for ratios in runs:
        for name, ratio in ratios.items():
            of.setdefault(name, []).append(ratio)
    return {
        name: Ratio(
            statistics.median(each.median for each in found),
            min(each.low for each in found),
            max(each.high for each in found),
        )
        for name, found in of.items()
    }


def changes(before: Mapping[str, Ratio], now: Mapping[str, Ratio]) -> list[Change]:
    """Return the changes of the ratios that both have."""
    return [Change(name, ratio, now[name]) for name, ratio in before.items() if name in now]


def main(options: Options) -> int:
    """Compare with the baseline or write it; return the exit code."""
    baseline = None
    if not options.write:
        baseline = _read(options.baselines, "no baseline: write one with --write")
    found = []
    for each in _results(options):
        found.append(each)
        of, this = _devices(baseline or found[0]), _devices(each)
        if of != this:
            what = "the first result" if baseline is None else "the baseline"
            raise Mistake(
                f"{what} is of {of}, and this is {this}: make a baseline of {this} alone, by "
                "--write --baselines FILE"
            )
    now = merged(each["ratios"] for each in found)
    if not now:
        names = ", ".join(MEASURED)
        raise Mistake(f"none of these files has a ratio: give those of {names}")
    if baseline is None:
        environment = found[0]["environment"] | {"devices": _devices(found[0])}
        values = {"environment": environment, "ratios": now}
        write_whole(options.baselines, json.dumps(values, indent=2) + "\n")
        print(f"{len(now)} ratios are in {options.baselines}")
        return 0
    before = baseline["ratios"]
    compared = changes(before, now)
    if not compared:
        raise Mistake("no ratio of the baseline was measured: give other files with --from")
    header = ("ratio", "baseline", "now", "noise", "")
    cells = [
        (
            each.name,
            f"{each.before.median:.3f}",
            f"{each.now.median:.3f}",
            f"{each.noise:.3f}",
            "FELL" if each.fell else "",
        )
        for each in compared
    ]
    print(text_table(header, cells))
    fell = [each.name for each in compared if each.fell]
    if missing := len(before.keys() - now.keys()):
        print(f"\nnot measured: {missing} others of the baseline")
    other = [
        f"{name} was {baseline['environment'][name]} and is {value}"
        for name, value in found[0]["environment"].items()
        if name != "devices" and baseline["environment"].get(name) not in (None, value)
    ]
    if other:
        print(f"\nthe baseline was made elsewhere: {', '.join(other)}")
    verdict = f"{len(fell) or 'none'} of {len(compared)} fell by more than their noise"
    print("\n" + (f"{verdict}: {'; '.join(fell)}" if fell else verdict))
    return 1 if fell else 0


def _results(options: Options) -> Iterator[dict]:
    """Yield what each benchmark has found: earlier, or now, one after another."""
    if options.measured == ():
        raise Mistake("--from has no value: give JSON files, or leave it out to measure now")
    yield from map(_read, options.measured or ())
    if options.measured is None:
        for _ in range(RUNS if options.write else 1):
            yield from measured()


def _devices(found: Mapping) -> str:
    """Return the devices of a result; of CPUs not how many, which is each benchmark's choice."""
    devices = str(found["environment"].get("devices"))
    return "cpu" if devices.endswith("cpu") else devices


def _read(path: Path, unlike: str = "no file that a benchmark has written: give another") -> dict:
    try:
        found = json.loads(path.read_text())
        ratios = {name: Ratio(*map(float, of)) for name, of in found.get("ratios", {}).items()}
        known = dict(found["environment"])
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Mistake(f"{path} is {unlike}") from error
    if found.get("quick"):
        raise Mistake(f"{path} is of a --quick run, which says nothing of speed: run it without")
    return {"environment": known, "ratios": ratios}


def measured() -> Iterator[dict]:
    """Run the benchmarks of `MEASURED` and yield their results."""
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in MEASURED.items():
            path = Path(folder) / f"{name}.json"
            if not run_other(name, *arguments, to=path):
                raise Mistake(f"benchmarks.{name} has failed, as it says above")
            yield _read(path)


if __name__ == "__main__":
    config = (tyro.conf.FlagCreatePairsOff,)
    with mistakes_said():
        sys.exit(main(tyro.cli(Options, prog=program(), description=__doc__, config=config)))
