"""The command line: `jbatch <verb> …`."""

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from jbatch.devices.malloc import restart_with_huge_pages
from jbatch.distributed import preemption
from jbatch.errors import Mistake, meant
from jbatch.messages import open_all, tell, unread

VERBS = {  # each a module of this package, with `run(arguments)`
    "new": "write a commented experiment file that trains at once",
    "prepare": "convert a dataset's official files, an image folder or a text",
    "plan": "print the phases of a plan; needs no device",
    "check": "check that an experiment trains the same however its updates are split",
    "train": "train one variant of an experiment, or resume it",
    "compare": "train several variants over several seeds; write one table and one report",
    "sweep": "train every point of a grid of fields; write one table and one report",
    "eval": "evaluate a run's newest checkpoint on its test set",
    "sample": "continue a text with a run's language model",
    "export": "write a run's parameters to a safetensors file, or send its metrics to a tracker",
    "sharpness": "measure the sharpness of a run's minimum, or compare two runs",
    "probe": "find the largest batch that loses nothing, by branches from a run's checkpoints",
    "report": "write the report page of the runs below a directory, or serve it live",
    "runs": "list the runs below a directory: state, updates, scores, goodput",
    "bench": "measure how fast an experiment trains here; or run the suite of a checkout",
    "completion": "print a script that completes commands in bash, zsh or fish",
}
TRAINING = ["train"], ["compare"], ["sweep"], ["probe"], ["bench"]
CODES = {
    0: "the command has done what was asked",
    1: "a fault of jbatch, which prints a traceback; or `jbatch check` found a difference",
    2: "a mistake: one message says which, and what to type",
    3: "the run reached the end of --until-phase, and is saved",
    75: "the run was stopped, and is saved: the same command resumes it",
    130: "the command was stopped before it saved anything",
}
FIRST = """\
jbatch trains with a batch size that is part of the schedule. Begin with an experiment of your own:

  jbatch new my_experiment.py              writes one that trains at once
  jbatch plan my_experiment.py growing     prints what it will do, without training
  jbatch compare my_experiment.py          trains its variants and writes a report
  jbatch runs runs                         lists what has been trained

`jbatch --help` lists all verbs and exit codes, `jbatch VERB --help` a verb's options."""
USAGE = "\n".join(
    (
        "usage: jbatch VERB …",
        "",
        *(f"  {verb:10} {what}" for verb, what in VERBS.items()),
        "",
        "`jbatch VERB --help` lists a verb's options, `jbatch --version` prints the version.",
        "To begin:",
        "",
        "  jbatch new my_experiment.py",
        "  jbatch compare my_experiment.py",
        "",
        "Exit codes:",
        "",
        *(f"  {code:<3} {what}" for code, what in CODES.items()),
        "",
        "NO_COLOR=1 turns the colours of the progress bar off.",
    )
)

FINISHED, FAULT, MISTAKE = 0, 1, 2


def command_line() -> NoReturn:
    """Run the program `jbatch`: the entry point of the package."""
    if sys.argv[1:2] in TRAINING and "--distributed" not in sys.argv:  # its child trains
        restart_with_huge_pages("jbatch")
    open_all()
    if isinstance(sys.stdout, io.TextIOWrapper):  # of another encoding than UTF-8, perhaps
        sys.stdout.reconfigure(errors="backslashreplace")
    preemption.watch(sys.argv[1:])
    # jaxlib 0.10.1 warns at length, for each cached program, that another machine compiled it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        code = main()
    except SystemExit as exit:  # tyro exits so, for help and for mistakes
        code = exit.code if isinstance(exit.code, int) else MISTAKE
    except Exception:
        traceback.print_exc()
        code = FAULT
    end(code)


def compiling() -> bool:
    """Return whether a background compilation is running, which Python would wait for at exit.

    A scheduler that asked the run to stop may kill it before the compilation ends.
    """
    ahead = sys.modules.get("jbatch.step.aot")
    return ahead is not None and ahead.compiling()


def end(code: int) -> NoReturn:
    """Flush the output and end the process immediately, without Python's own shutdown.

    The command has closed its files by now. Python's shutdown would wait for a background
    compilation, and for the threads that Orbax leaves behind after a failed save. A signal during
    that wait would replace the exit code.
    """
    workers = sys.modules.get("jbatch.data.stream.workers")
    if workers is not None:
        workers.give_back()
    wandb = sys.modules.get("jbatch.trackers.wandb")
    if wandb is not None:
        wandb.remove_temporary()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # an experiment file may have closed it
            stream.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
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
    except KeyboardInterrupt:  # before the run had anything to save
        tell("jbatch: interrupted")
        return preemption.NothingSaved.exit_code
    except OSError as error:
        where = error.filename2 or error.filename
        if where is None:  # stdout: errors in a run's files name the file
            unread(sys.stdout)
            if error.errno == errno.EPIPE:  # the reader closed the pipe, as `head` does
                return 128 + signal.SIGPIPE
            tell(f"jbatch: cannot write to stdout ({error.strerror or error})")
            return MISTAKE
        tell(f"jbatch: {where}: {error.strerror or error}")
        return MISTAKE


def _run(arguments: Sequence[str]) -> int:
    if not arguments:
        print(FIRST)
        return MISTAKE
    if arguments[0] in ("-h", "--help") or arguments == ["help"]:
        print(USAGE)
        return FINISHED
    if arguments[0] == "--version":
        from jbatch import __version__

        print(f"jbatch {__version__}")
        return FINISHED
    try:
        os.getcwd()
    except OSError as error:
        raise Mistake(
            f"cannot read the current folder ({error.strerror}). It may have been removed: cd to "
            "another folder"
        ) from error
    verb, *rest = (*arguments[1:], "--help") if arguments[0] == "help" else arguments
    if verb not in VERBS:
        nearest = meant(verb, (*VERBS, "--help", "--version"))
        raise Mistake(f"there is no verb {verb!r}{nearest} (verbs: {', '.join(VERBS)})")
    return import_module(f"jbatch.cli.{verb}").run(rest) or FINISHED
