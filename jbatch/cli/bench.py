"""`jbatch bench`: run the benchmarks of a checkout; the package does not contain them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jbatch.errors import Mistake


def run(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the benchmarks, with these arguments."""
    if not Path("benchmarks", "__main__.py").exists():
        raise Mistake(
            f"there is no benchmarks/ in {Path.cwd()}: run jbatch bench in a checkout of jbatch"
        )
    # Not a child process: signals must reach the benchmarks.
    os.execv(sys.executable, (sys.executable, "-m", "benchmarks", *arguments))
