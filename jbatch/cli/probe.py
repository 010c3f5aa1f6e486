"""`jbatch probe`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli.arguments import RunsCode, run_directory
from jbatch.messages import show

USAGE = "jbatch probe DIR"


@dataclass(frozen=True)
class Options(RunsCode):
    """Find the critical batch of a run: the largest that loses nothing at equal data.

    From checkpoints of the run, jbatch trains branches in larger batches, at the rate that the
    plan's scaling gives them, over the same examples (Merrill et al., arXiv 2505.23971). It prints
    a table, the gradient noise scale beside it, and a ramp to paste. JSON and figures go to
    DIR/probe/. The run stays as it is, and the same command goes on with a probe that was
    interrupted. Runs keep checkpoints with --keep-every (docs/noise.md).

    For example: jbatch probe runs/digits/decaying/seed-0 --at 0.1 0.3 0.6
    """

    at: tuple[float, ...] = (0.1, 0.3, 0.6)
    """Places to branch from, as shares of the run's examples. jbatch takes the nearest checkpoints,
    and refuses those farther away than 0.05."""
    multiples: tuple[int, ...] = (1, 2, 4, 8)
    """Batch sizes of the branches, in multiples of the run's batch size there. 1 is always one."""
    window: float | None = None
    """Length of a branch, in plan.unit, rounded up to whole updates of the largest batch. None: all
    branches together train on 12% of the run's examples, but each for at least ten updates."""
    tolerance: float = 0.01
    """How much more loss than smaller batches a batch may have, in units of the loss."""
    seed: int | None = None
    """Seed of the order in which branches see their examples. None: the run's seed plus 1."""
    json: bool = False
    """Print JSON, as in DIR/probe/probe.json."""


def run(arguments: Sequence[str]) -> None:
    """Probe a run, print what was found and write it beside the run."""
    directory, options = run_directory(arguments, USAGE, Options)

    from jbatch.report.probed import probed_json
    from jbatch.study.probe import probe

    found = probe(
        directory,
        at=options.at,
        multiples=options.multiples,
        window=options.window,
        tolerance=options.tolerance,
        seed=options.seed,
        trusted=options.trust,
    )
    if options.json:
        print(json.dumps(probed_json(found), allow_nan=False))
    else:
        show(found)
