"""Run a command as one of several processes, under `supervise`; not a verb.

JAX's own shutdown waits for all other processes, and calls abort() if one does not arrive. A user's
mistake on one host would then look like a lost process. So this process ends without JAX's shutdown
if the others have not ended too.
"""

import sys
import traceback

from jbatch.cli import compiling, end, main
from jbatch.devices.malloc import restart_with_huge_pages
from jbatch.distributed import agree
from jbatch.distributed.watchdog import end_with_parent


def run(arguments: list[str]) -> int:
    """Run a command, print its errors and return its exit code."""
    try:
        return main(arguments)
    except SystemExit as end:  # tyro exits so for a mistake
        return end.code if isinstance(end.code, int) else 1
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    restart_with_huge_pages("jbatch.cli.member")
    supervisor, *command = sys.argv[1:]
    end_with_parent(int(supervisor))
    code = run(command)
    if not agree.all_ended():
        end(code)
    if compiling():
        agree.leave()
        end(code)
    sys.exit(code)
