"""`jbatch compare`."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli.arguments import RunsCode, leading, override, print_help, split_options, wants_help
from jbatch.cli.libraries import prepare_libraries
from jbatch.cli.report import in_order, record_of
from jbatch.cli.train import run_directory
from jbatch.errors import Mistake
from jbatch.experiment import Comparison
from jbatch.experiment_file import load_experiment_file
from jbatch.run_directory import Origin

USAGE = "jbatch compare FILE [VARIANT …]"


@dataclass(frozen=True)
class Options(RunsCode):
    """Train several variants of an experiment over several seeds; one table and one report.

    Without VARIANT, all of the file. Runs that are finished are not trained again, and the same
    command goes on where it stopped. FILE VARIANT --help lists the experiment's fields; a field
    given here changes in every variant.

    For example: jbatch compare experiments/digits.py decaying increasing --seeds 0 1 2
    """

    seeds: tuple[int, ...] | None = None
    """One run of every variant for each; None for the file's own."""
    out: Path | None = None
    """Directory of the report and the runs; None for runs/FILE."""


def run(arguments: Sequence[str]) -> None:
    """Train what is missing, then print the table and write the report."""
    names, rest = leading(arguments)
    if not names:
        if wants_help(rest):
            print_help(Options, USAGE)
        raise Mistake(f"give an experiment file first: {USAGE} (--help says more)")
    file = load_experiment_file(Path(names[0]), "--trust" in rest)
    chosen = names[1:] or list(file.variants)
    if wants_help(rest):
        print_help(Options, f"jbatch compare {' '.join(names)}", file.variant(chosen[0]))
    options, overrides = split_options(Options, rest)
    experiments = {
        name: override(file.variant(name), overrides, f"jbatch compare {file.path} {name}")
        for name in chosen
    }
    if len(set(chosen)) != len(chosen):
        raise Mistake(f"{' '.join(chosen)}: name each variant once")
    if any(experiments[name].seed != file.variant(name).seed for name in chosen):
        raise Mistake("--seed is for one run: give --seeds, as in --seeds 3")
    stated = file.comparison or Comparison(claims=())
    seeds = stated.seeds if options.seeds is None else options.seeds
    if not seeds or len(set(seeds)) != len(seeds):
        raise Mistake(f"--seeds {' '.join(map(str, seeds))}: give each seed once, at least one")

    from jbatch.progress import progress
    from jbatch.report.page import write_report
    from jbatch.report.text import comparison_text
    from jbatch.train import fit

    prepare_libraries()
    out = options.out or Path("runs") / file.path.stem
    if (out / "run.json").exists():
        raise Mistake(f"{out} is the directory of one run: give --out another")
    records, begun = [], time.perf_counter()
    for number, (name, seed) in enumerate((name, seed) for seed in seeds for name in chosen):
        experiment = dataclasses.replace(experiments[name], seed=seed)
        origin = Origin(file.code, name, (*overrides, "--seed", str(seed)))
        directory = run_directory(out, name, seed)
        of = f"run {number + 1} of {len(seeds) * len(chosen)}"
        fit(
            experiment,
            directory,
            origin=origin,
            progress=progress(seconds_between=30),
            label=f"{name} seed {seed}, {of}",
        )
        record = record_of(directory, name, experiment)
        records.append(record)
        accuracy = record.evaluations[-1]["accuracy"]
        print(
            f"{of}: {name} seed {seed}: {record.plan.num_updates:,} updates, test accuracy "
            f"{accuracy:.2%}, {record.lines[-1]['seconds']:.1f} s",
            file=sys.stderr,
        )
    records = in_order(file, records)
    print(comparison_text(records, file.comparison))
    page = write_report(out, out.absolute().name, file.docstring, records, file.comparison)
    print(f"\n{time.perf_counter() - begun:.0f} s in all. Report: {page}")
