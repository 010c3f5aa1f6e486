"""The command line: `jbatch <verb> …`."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from jbatch.distributed import preemption
from jbatch.errors import Mistake, meant
from jbatch.messages import open_all, tell, unread

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

FINISHED, FAULT, MISTAKE = 0, 1, 2


def command_line() -> NoReturn:
    """The program `jbatch`."""
    open_all()
    preemption.watch(sys.argv[1:])
    # jaxlib 0.10.1 takes each program of its own cache for one of another machine, in pages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        code = main()
    except SystemExit as exit:  # tyro's own, for help and for mistakes
        code = exit.code if isinstance(exit.code, int) else MISTAKE
    except Exception:
        traceback.print_exc()
        code = FAULT
    end(code)


def compiling() -> bool:
    """Whether something is still compiled, for which Python would wait at its end.

    Whoever asked the run to stop may not wait as long.
    """
    ahead = sys.modules.get("jbatch.step.aot")
    return ahead is not None and ahead.compiling()


def end(code: int) -> NoReturn:
    """End the process at once, with all that it has said.

    All that it held is closed by now. Python's own end would wait for what is being compiled, and
    for threads that Orbax leaves where a save has failed; a signal in it would be the exit code.
    """
    workers = sys.modules.get("jbatch.data.stream.workers")
    if workers is not None:
        workers.give_back()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # which a file may have closed
            stream.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return code
    except Mistake as mistake:
        tell(f"jbatch: {mistake}")
        return MISTAKE
    except preemption.Stopped as stopped:
        tell(f"jbatch: {stopped}")
        return stopped.exit_code
    except KeyboardInterrupt:  # before there was anything to save
        tell("jbatch: interrupted")
        return preemption.NothingSaved.exit_code
    except OSError as error:
        where = error.filename2 or error.filename
        if where is None:  # of stdout: a run names its own files
            unread(sys.stdout)
            if error.errno == errno.EPIPE:  # whoever read it has seen enough
                return 128 + signal.SIGPIPE
            tell(f"jbatch: the output cannot be written ({error.strerror or error})")
            return MISTAKE
        tell(f"jbatch: {where}: {error.strerror or error}")
        return MISTAKE


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return FINISHED if arguments else MISTAKE
    if arguments[0] == "--version":
        from jbatch import __version__

        print(f"jbatch {__version__}")
        return FINISHED
    try:
        os.getcwd()
    except OSError as error:
        raise Mistake(
            f"the current folder cannot be read ({error.strerror}): it may have been removed; cd "
            "to another"
        ) from error
    verb, *rest = arguments
    if verb not in VERBS:
        nearest = meant(verb, VERBS)
        raise Mistake(f"there is no verb {verb!r}{nearest} (one of {', '.join(VERBS)})")
    return import_module(f"jbatch.cli.{verb}").run(rest) or FINISHED
