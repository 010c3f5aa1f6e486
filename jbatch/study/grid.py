"""Read a grid of an experiment's fields from text."""

import itertools
import math
from collections.abc import Iterator, Sequence

from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.flags import flags, meant_flag
from jbatch.printable import printable

MOST_CELLS = 10_000  # of a grid


def cells(grid: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield each cell of a grid: (its name, the same cell as command-line options).

    >>> list(cells(["plan.batch-size=8,16"]))[1]
    (('plan.batch-size 16',), ('--plan.batch-size', '16'))
    """
    axes = []
    for text in grid:
        field, _, joined = text.partition("=")
        values = [" ".join(value.split()) for value in joined.split(",")]
        if not (field and all(values)):
            raise Mistake(
                f"--grid {quoted(text)}: give FIELD=VALUE,VALUE…, like plan.batch-size=32,128"
            )
        axes.append([(field.replace("_", "-"), value) for value in values])
    if math.prod(map(len, axes)) > MOST_CELLS:
        raise Mistake(
            f"--grid {quoted(' '.join(grid))} has over {MOST_CELLS:,} points: give fewer values"
        )
    if len({axis[0][0] for axis in axes}) < len(axes):
        raise Mistake(f"--grid {quoted(' '.join(grid))}: give each field once, with all its values")
    for cell in itertools.product(*axes):
        names = tuple(f"{field} {value}" for field, value in cell)
        yield names, tuple(itertools.chain.from_iterable(itertools.starmap(_tokens, cell)))


def check_field(text: str, experiment: Experiment) -> None:
    """Raise a Mistake that names the nearest field if the experiment has none of this name.

    Some options of the command line are no fields: --help, and --no-… of a boolean.
    """
    field = quoted(text.partition("=")[0].replace("_", "-"))
    known = list(flags(experiment, ""))
    if field not in known:
        raise Mistake(
            f"--grid {quoted(text)}: the experiment has no field {field}{meant_flag(field, known)} "
            "(jbatch sweep FILE --help lists them; to change the schedule, network, optimizer or "
            "dataset, edit the file)"
        )


def quoted(text: str) -> str:
    """Shorten a grid to one line for a message."""
    return printable(text, "")[:200]


def _tokens(field: str, value: str) -> tuple[str, ...]:
    """Write a field and its value as `jbatch train` takes them: a boolean is a flag."""
    if value == "True":
        return (f"--{field}",)
    if value == "False":
        group, dot, name = field.rpartition(".")
        return (f"--{group}{dot}no-{name}",)
    return f"--{field}", *value.split()
