"""`jbatch bench`: the suite of a checkout, which is no part of the package."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jbatch.errors import Mistake


def run(arguments: Sequence[str]) -> NoReturn:
    """Become the suite, with these arguments."""
    if not Path("benchmarks", "__main__.py").exists():
        raise Mistake(
            f"there is no benchmarks/ in {Path.cwd()}: jbatch bench runs in a checkout of jbatch"
        )
    # In this process, which signals reach.
    os.execv(sys.executable, (sys.executable, "-m", "benchmarks", *arguments))
