"""`jbatch bench`: the suite of a checkout, which is no part of the package."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jbatch.errors import Mistake


def run(arguments: Sequence[str]) -> int:
    """Run it with these arguments; its exit code."""
    if not Path("benchmarks", "__main__.py").exists():
        raise Mistake(
            f"there is no benchmarks/ in {Path.cwd()}: jbatch bench runs in a checkout of jbatch"
        )
    return subprocess.run((sys.executable, "-m", "benchmarks", *arguments), check=False).returncode
