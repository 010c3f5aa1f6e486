"""The trainer that `supervise` watches over: the command line, with an end that others may miss.

Not a verb. JAX's own end of a process waits for all others, and calls abort() if they do not come:
a person's mistake on one host would then look like a lost process.
"""

import sys
import traceback

from jbatch.cli import compiling, end, main
from jbatch.distributed import agree
from jbatch.distributed.watchdog import end_with_parent


def run(arguments: list[str]) -> int:
    """The exit code of a command, after its messages."""
    try:
        return main(arguments)
    except SystemExit as end:  # of tyro, for a mistake
        return end.code if isinstance(end.code, int) else 1
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    supervisor, *command = sys.argv[1:]
    end_with_parent(int(supervisor))
    code = run(command)
    if not agree.all_ended():
        end(code)
    if compiling():
        agree.leave()
        end(code)
    sys.exit(code)
