"""The command line: `jbatch <verb> …`."""

import difflib
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from jbatch.errors import Mistake

VERBS = {  # each a module of this package, with `run(arguments)`
    "prepare": "write a data set from its official files for TensorFlow Datasets",
    "plan": "print what a schedule becomes: every phase, without any device",
    "train": "train one variant of an experiment, or go on with it",
    "compare": "train several variants over several seeds; one table and one report",
    "sweep": "train every point of a grid of fields; one table and one report",
    "eval": "evaluate a run's newest checkpoint on its test set",
    "sharpness": "measure how sharp the minimum of a run is; of two, the line between",
    "report": "write the report page of a run or a comparison anew",
    "bench": "run the benchmarks of a checkout; one page",
}
USAGE = "\n".join(
    (
        "usage: jbatch VERB …",
        "",
        *(f"  {verb:9} {what}" for verb, what in VERBS.items()),
        "",
        "`jbatch VERB --help` says more. For example:",
        "",
        "  jbatch plan experiments/digits.py increasing",
        "  jbatch compare experiments/digits.py",
    )
)

FINISHED, MISTAKE = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return FINISHED if arguments else MISTAKE
    if arguments[0] == "--version":
        from jbatch import __version__

        print(f"jbatch {__version__}")
        return FINISHED
    verb, *rest = arguments
    try:
        if verb not in VERBS:
            close = difflib.get_close_matches(verb, VERBS, 1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise Mistake(f"there is no verb {verb!r}{meant} (one of {', '.join(VERBS)})")
        return import_module(f"jbatch.cli.{verb}").run(rest) or FINISHED
    except Mistake as mistake:
        print(f"jbatch: {mistake}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:  # before there was anything to save
        print("jbatch: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return FINISHED
    except Exception as error:
        from jbatch.stop import Stopped  # a failure is no reason to import more than this

        if isinstance(error, Stopped):
            print(f"jbatch: {error}", file=sys.stderr)
            return error.exit_code
        raise
