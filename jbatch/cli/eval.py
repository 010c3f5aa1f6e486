"""`jbatch eval`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli.arguments import RunsCode, leading, one_directory, split_options
from jbatch.cli.help import print_help, wants_help
from jbatch.devices.cores import each_a_device
from jbatch.errors import Mistake
from jbatch.experiment.flags import flags
from jbatch.messages import show
from jbatch.run.libraries import prepare_libraries
from jbatch.run.reopen import made_in_python, remake

USAGE = "jbatch eval DIR"


@dataclass(frozen=True)
class Options(RunsCode):
    """Evaluate the newest checkpoint of a run on its whole test set.

    The options may also change the data's fields, for example if the dataset has moved: jbatch eval
    DIR --help lists them.

    For example: jbatch eval runs/digits/increasing/seed-0 --json
    """

    json: bool = False
    """Print JSON: update, every score, num_examples, parameters_digest."""


def run(arguments: Sequence[str]) -> None:
    """Evaluate the run and print the result."""
    names, rest = leading(arguments)
    if wants_help(rest) and not names:
        print_help(Options, USAGE)
    directory = one_directory(names, USAGE)
    each_a_device()
    if wants_help(rest):
        _, _, experiment = remake(directory, trusted="--trust" in rest)
        print_help(Options, f"jbatch eval {directory}", experiment.data, "data")
    options, overrides = split_options(Options, rest)

    from jbatch.run.metrics import scores_text
    from jbatch.run.newest import evaluate_newest, evaluate_saved

    prepare_libraries()
    if made_in_python(directory):
        if overrides:
            raise Mistake(
                f"{directory} was made in Python, so its fields cannot be given here "
                f"({' '.join(overrides)[:200]}): use jbatch.load({str(directory)!r}).evaluate(…)"
            )
        update, found, digest = evaluate_saved(directory, options.trust)
    else:
        _, _, experiment = remake(directory, overrides, options.trust, flags(Options))
        update, found, digest = evaluate_newest(experiment, directory)
    values = {"update": update, **found.line, "parameters_digest": digest}
    if options.json:
        print(json.dumps(values))
    else:
        show(
            f"after {update:,} updates: {scores_text(found.scores)} on "
            f"{found.num_examples:,} examples; parameters {digest[:12]}"
        )
