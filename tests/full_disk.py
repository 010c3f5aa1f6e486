"""The tiny experiment, on a disk that is full from one save to another, as FULL=2-4 says.

FREE says how many bytes are left then.
"""

import os
import shutil
from itertools import count
from pathlib import Path

from jbatch.run import loop
from tiny import variants

__all__ = ["variants"]


def fill_and_save(run, save=loop._save, number=count(1)):  # noqa: B008
    filler, nth = Path("filler"), next(number)
    if nth == first:
        run.checkpoints.wait()
        filler.write_bytes(bytes(shutil.disk_usage(".").free - int(os.environ["FREE"])))
    if nth == last:
        filler.unlink()
    save(run)


if "FULL" in os.environ:
    first, last = map(int, os.environ["FULL"].split("-"))
    loop._save = fill_and_save
