"""`jbatch sharpness`."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jbatch.cli.arguments import RunsCode, leading, read_options
from jbatch.cli.help import print_help, wants_help
from jbatch.devices.cores import each_a_device
from jbatch.errors import Mistake, positive, whole
from jbatch.files import has_folder, write_whole
from jbatch.messages import show, tell
from jbatch.run.libraries import prepare_libraries
from jbatch.run.reopen import remake
from jbatch.text import text_table

if TYPE_CHECKING:
    from jbatch.analysis.measured import Measured

USAGE = "jbatch sharpness DIR [DIR]"
ALPHAS: list[float] = np.linspace(-1, 2, 25).tolist()  # as in Keskar et al.


@dataclass(frozen=True)
class Options(RunsCode):
    """Measure the sharpness of a run's minimum; with two runs, also the loss on the line between.

    Keskar's sharpness (arXiv 1609.04836) is the largest rise of the training loss within a small
    box around the parameters, in percent of 1 + loss. jbatch searches the full space and a random
    subspace. It also prints the largest eigenvalue of the Hessian. Norm layers use their running
    statistics. The subspace's directions are standard normal, so its box is larger: compare runs
    with each other, not the two spaces.

    For example: jbatch sharpness runs/digits/decaying/seed-0 runs/digits/increasing/seed-0
    """

    epsilon: tuple[float, ...] = (1e-3, 5e-4)
    """Sizes ε of the boxes. In the full space a weight moves by up to ε · (|weight| + 1)."""
    directions: int = 100
    """Dimensions of the random subspace."""
    iterations: int = 10
    """Maximum iterations of L-BFGS-B."""
    examples: int | None = None
    """Number of training examples to use, from the first on. None: all."""
    seed: int = 0
    """Seed of the subspace and of the points where the searches start."""
    figure: Path | None = None
    """Draw the loss on the line between two runs to this .png or .svg file."""
    json: bool = False
    """Print JSON: runs (run, training_loss, training_accuracy, sharpness of every box,
    largest_eigenvalue) and line (alpha, loss, accuracy)."""

    def __post_init__(self) -> None:
        if not self.epsilon:
            raise Mistake("--epsilon has no values: give the sizes of the boxes, for example 1e-3")
        for epsilon in self.epsilon:
            positive("--epsilon", epsilon)
            if epsilon > 1:
                raise Mistake(f"--epsilon is {epsilon:g}: give at most 1, for example 1e-3")
        whole("--directions", self.directions)
        whole("--iterations", self.iterations)
        whole("--seed", self.seed, least=0)


def run(arguments: Sequence[str]) -> None:
    """Measure one or two runs and print the result."""
    names, rest = leading(arguments)
    if wants_help(rest):
        print_help(Options, USAGE)
    if not 1 <= len(names) <= 2:
        raise Mistake(f"give one or two run directories, not {len(names)}: {USAGE}")
    options = read_options(Options, rest, USAGE)
    _check_figure(options.figure, len(names))
    directories = [Path(name) for name in names]
    each_a_device()
    experiments = [remake(directory, trusted=options.trust)[2] for directory in directories]

    from jbatch.analysis.loss_landscape import Landscape, line
    from jbatch.analysis.measured import measure

    prepare_libraries()
    landscapes = [
        Landscape(experiment, directory, options.examples)
        for experiment, directory in zip(experiments, directories, strict=True)
    ]
    points = line(landscapes[0], landscapes[1], ALPHAS) if len(landscapes) == 2 else []
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
            show("\nOn the line from the first run (α = 0) to the second (α = 1):\n")
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
    tell(f"jbatch: {called}: measuring {what}")


def _json(values: NamedTuple) -> dict[str, Any]:
    return {name: _or_null(value) for name, value in values._asdict().items()}


def _or_null(value: object) -> object:
    """Replace a number that is not finite by None: JSON has no such numbers."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_figure(figure: Path | None, runs: int) -> None:
    """Raise a Mistake if the figure could not be drawn after the measurements."""
    if figure is None:
        return
    if runs == 1:
        raise Mistake("--figure draws the line between two runs: give a second run directory")
    if figure.suffix not in (".png", ".svg"):
        raise Mistake(f"--figure is {figure}: give a name that ends in .png or .svg")
    has_folder(figure)


def _apart(names: Sequence[str]) -> list[str]:
    """Shorten the directories to the parts that differ between them."""
    parts = [Path(name).absolute().parts for name in names]
    if len(parts) == 1 or parts[0] == parts[1]:
        return list(names)
    begin = next(i for i, pair in enumerate(zip_longest(*parts)) if len(set(pair)) > 1)
    ends = zip_longest(*(reversed(each) for each in parts))
    end = next(i for i, pair in enumerate(ends) if len(set(pair)) > 1)
    return ["/".join(each[begin : max(len(each) - end, begin + 1)]) for each in parts]


def _column(found: "Measured") -> dict[str, float]:
    """Return a run's numbers by their names in the table."""
    boxes = {f"sharpness %, ε {box.epsilon:g}, {box.space}": box.value for box in found.sharpness}
    return {
        "training loss": found.training_loss,
        "training accuracy %": 100 * found.training_accuracy,
        **boxes,
        "largest eigenvalue": found.largest_eigenvalue,
    }
