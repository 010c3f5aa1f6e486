"""`jbatch eval`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli.arguments import remake, run_directory
from jbatch.cli.libraries import prepare_libraries

USAGE = "jbatch eval DIR"


@dataclass(frozen=True)
class Options:
    """Evaluate the newest checkpoint of a run on its whole test set.

    For example: jbatch eval runs/digits/increasing/seed-0 --json
    """

    json: bool = False
    """Print JSON: update, loss, accuracy, num_examples, parameters_digest."""


def run(arguments: Sequence[str]) -> None:
    """Evaluate."""
    directory, options = run_directory(arguments, USAGE, Options)
    _, _, experiment = remake(directory)

    from jbatch.train import evaluate_newest

    prepare_libraries()
    update, found, digest = evaluate_newest(experiment, directory)
    values = {"update": update, **found._asdict(), "parameters_digest": digest}
    if options.json:
        print(json.dumps(values))
    else:
        print(
            f"after {update:,} updates: loss {found.loss:.4f}, accuracy {found.accuracy:.2%} on "
            f"{found.num_examples:,} examples; parameters {digest[:12]}"
        )
