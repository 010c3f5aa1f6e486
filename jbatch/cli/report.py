"""`jbatch report`."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from jbatch.cli.arguments import run_directory
from jbatch.distributed.preemption import acting
from jbatch.errors import Mistake, positive, whole
from jbatch.messages import show
from jbatch.report.read import read_report

USAGE = "jbatch report DIR"


@dataclass(frozen=True)
class Options:
    """Write the report of a run, or of all runs below a directory, from their metrics.

    Unfinished runs are shown up to their last log line. No code of the runs is run.

    For example: jbatch report runs/digits
    """

    price_per_chip_hour: float | None = None
    """Also show cost, at this price of a device (a chip, a GPU) for an hour, in any currency."""
    watch: bool = False
    """Serve the report as a page on 127.0.0.1 that follows the runs, until Ctrl-C; write no
    file."""
    port: int | None = None
    """With --watch: the port. None: a free one."""

    def __post_init__(self) -> None:
        if self.price_per_chip_hour is not None:
            positive("--price-per-chip-hour", self.price_per_chip_hour)
        if self.port is not None:
            whole("--port", self.port, most=65_535)
            if not self.watch:
                raise Mistake(f"--port {self.port} needs --watch: give --watch too")


def run(arguments: Sequence[str]) -> None:
    """Write the report, or serve it."""
    directory, options = run_directory(arguments, USAGE, Options)
    price = options.price_per_chip_hour
    if not options.watch:
        from jbatch.report.page import write_report

        show(write_report(directory, *read_report(directory), price))
        return
    from jbatch.report.watch import watch

    if not directory.is_dir():
        raise Mistake(f"{directory} is no folder: give a run directory or a folder of them")
    ended = threading.Event()
    with acting(lambda _: ended.set()):
        watch(directory, options.port, price, ended, lambda at: show(f"{at} (Ctrl-C ends it)"))
