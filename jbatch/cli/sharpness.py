"""`jbatch sharpness`."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jbatch.cli.arguments import RunsCode, leading, print_help, read_options, wants_help
from jbatch.errors import Mistake, positive, whole
from jbatch.files import write_whole
from jbatch.messages import show, tell
from jbatch.run.libraries import prepare_libraries
from jbatch.run.reopen import remake

USAGE = "jbatch sharpness DIR [DIR]"
ALPHAS = np.linspace(-1, 2, 25)  # of Keskar et al.


@dataclass(frozen=True)
class Options(RunsCode):
    """How sharp the minimum is that a run has found; of two runs, also the line between them.

    Keskar's sharpness (arXiv 1609.04836): by how many percent of 1 + loss the training loss rises
    at most within a small box around the parameters, in the full space and in a random subspace;
    and the largest eigenvalue of the Hessian. On the training set, by running statistics. The
    subspace has more room in each direction (standard normal ones): compare runs, not spaces.

    For example: jbatch sharpness runs/digits/decaying/seed-0 runs/digits/increasing/seed-0
    """

    epsilon: tuple[float, ...] = (1e-3, 5e-4)
    """How far the boxes reach, times |weight| + 1."""
    directions: int = 100
    """Dimensions of the random subspace."""
    iterations: int = 10
    """Iterations of L-BFGS-B, at most."""
    examples: int | None = None
    """How many examples of the training set, from its first on; None for all."""
    seed: int = 0
    """Seed of the subspace and of where searches begin."""
    figure: Path | None = None
    """Where to draw the line between two runs, as a .png or .svg file."""
    json: bool = False
    """Print JSON: runs (run, training_loss, training_accuracy, sharpness of every box,
    largest_eigenvalue) and line (alpha, loss, accuracy)."""

    def __post_init__(self):
        if not self.epsilon:
            raise Mistake("--epsilon has no values: give how far the boxes reach, as 1e-3")
        for epsilon in self.epsilon:
            positive("--epsilon", epsilon)
            if epsilon > 1:
                raise Mistake(f"--epsilon is {epsilon:g}: give 1 at most, which is no small box")
        whole("--directions", self.directions)
        whole("--iterations", self.iterations)
        whole("--seed", self.seed, least=0)


def run(arguments: Sequence[str]) -> None:
    """Measure one or two runs."""
    names, rest = leading(arguments)
    if wants_help(rest):
        print_help(Options, USAGE)
    if not 1 <= len(names) <= 2:
        raise Mistake(f"give one run's directory or two, not {len(names)}: {USAGE}")
    options = read_options(Options, rest, USAGE)
    _check_figure(options.figure, len(names))
    directories = [Path(name) for name in names]
    experiments = [remake(directory, trusted=options.trust)[2] for directory in directories]

    from jbatch.analysis.loss_landscape import Landscape, line
    from jbatch.analysis.measured import measure
    from jbatch.tables import text_table

    prepare_libraries()
    landscapes = [
        Landscape(experiment, directory, options.examples)
        for experiment, directory in zip(experiments, directories, strict=True)
    ]
    points = line(*landscapes, ALPHAS) if len(landscapes) == 2 else []
    called = _apart(names)
    found = [
        measure(
            each,
            options.epsilon,
            directions=options.directions,
            iterations=options.iterations,
            seed=options.seed,
            say=partial(_say, name),
        )
        for name, each in zip(called, landscapes, strict=True)
    ]
    if options.json:
        on_line = [
            {
                "alpha": alpha,
                "loss": _or_null(loss),
                "accuracy": accuracy,
            }
            for alpha, (loss, accuracy) in zip(ALPHAS, points, strict=bool(points))
        ]
        runs = [
            {"run": name, **_json(each), "sharpness": [*map(_json, each.sharpness)]}
            for name, each in zip(names, found, strict=True)
        ]
        print(json.dumps({"runs": runs, "line": on_line}, allow_nan=False))
    else:
        columns = [_column(each) for each in found]
        rows = [(name, *(f"{column[name]:.4g}" for column in columns)) for name in columns[0]]
        show(text_table(("", *called), rows))
        if points:
            show("\nOn the line, from the first (α = 0) to the second (α = 1):\n")
            rows = [
                (f"{alpha:.3f}", f"{loss:.4g}", f"{accuracy:.2%}")
                for alpha, (loss, accuracy) in zip(ALPHAS, points, strict=True)
            ]
            show(text_table(("α", "training loss", "training accuracy"), rows))
    if options.figure is not None:
        from jbatch.report.line import line_figure

        figure = line_figure(ALPHAS, points, called, options.figure.suffix[1:])
        write_whole(options.figure, figure)


def _say(called: str, what: str) -> None:
    tell(f"jbatch: {called}: measures {what}")


def _json(values: NamedTuple) -> dict:
    return {name: _or_null(value) for name, value in values._asdict().items()}


def _or_null(value):
    """JSON has no numbers that are not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_figure(figure: Path | None, runs: int) -> None:
    """See that it can be drawn in the end."""
    if figure is None:
        return
    if runs == 1:
        raise Mistake("--figure is of the line between two runs: give another directory too")
    if figure.suffix not in (".png", ".svg"):
        raise Mistake(f"--figure is {figure}: give a name that ends in .png or .svg")
    if not figure.parent.is_dir():
        raise Mistake(f"--figure is {figure}: there is no {figure.parent}, make it")


def _apart(names: Sequence[str]) -> list[str]:
    """The directories by what tells them apart: without the folders that they share."""
    parts = [Path(name).absolute().parts for name in names]
    if len(parts) == 1 or parts[0] == parts[1]:
        return list(names)
    begin = next(i for i, pair in enumerate(zip_longest(*parts)) if len(set(pair)) > 1)
    ends = zip_longest(*(reversed(each) for each in parts))
    end = next(i for i, pair in enumerate(ends) if len(set(pair)) > 1)
    return ["/".join(each[begin : max(len(each) - end, begin + 1)]) for each in parts]


def _column(found) -> dict[str, float]:
    """What the table calls each number."""
    boxes = {f"sharpness %, ε {box.epsilon:g}, {box.space}": box.value for box in found.sharpness}
    return {
        "training loss": found.training_loss,
        "training accuracy %": 100 * found.training_accuracy,
        **boxes,
        "largest eigenvalue": found.largest_eigenvalue,
    }
