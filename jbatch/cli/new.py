"""`jbatch new`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jbatch.cli.arguments import leading, read_options
from jbatch.cli.help import print_help, wants_help
from jbatch.errors import Mistake
from jbatch.files import expanded, has_folder, write_whole
from jbatch.messages import show

USAGE = "jbatch new FILE"


@dataclass(frozen=True)
class Options:
    """Write a commented experiment file that trains at once, to begin with.

    It compares two schedules on handwritten digits, offline, in under a minute. Edit its data,
    network and schedule.

    For example: jbatch new my_experiment.py
    """


def run(arguments: Sequence[str]) -> None:
    """Write the file, and say what to do next."""
    names, rest = leading(arguments)
    if wants_help(rest):
        print_help(Options, USAGE)
    if len(names) != 1:
        raise Mistake(f"give one file to write, not {len(names)}: {USAGE}")
    read_options(Options, rest, USAGE)
    path = expanded(Path(names[0]))
    if path.suffix != ".py":
        raise Mistake(f"{path} does not end in .py: give the name of a Python file")
    if path.exists() or path.is_symlink():
        raise Mistake(f"{path} exists: give another name, or remove it")
    has_folder(path)
    called = shlex.quote(str(path))
    template = files("jbatch.cli").joinpath("new_experiment.txt").read_text(encoding="utf-8")
    write_whole(path, template.replace("FILE", path.name))
    show(
        f"wrote {path}. Next:\n\n"
        f"  jbatch plan {called} growing     # what will happen, without training\n"
        f"  jbatch train {called} growing    # one run\n"
        f"  jbatch compare {called}          # both variants over three seeds, and a report"
    )
