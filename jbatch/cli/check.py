"""`jbatch check`."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import jax

from jbatch.cli.arguments import RunsCode, file_and_variant
from jbatch.messages import show
from jbatch.run.libraries import prepare_libraries
from jbatch.text import counted

USAGE = "jbatch check FILE VARIANT"
SIMULATED = 4  # devices, where there is only a CPU
FAILED = 1


@dataclass(frozen=True)
class Options(RunsCode):
    """Check that an experiment trains the same however its updates are split.

    It takes three updates in several splits over devices and passes, saves and resumes twice, and
    evaluates on one device and on all. It exits with 1 if something differs, and says the
    likely cause.

    The options may change the experiment's fields: jbatch check FILE VARIANT --help lists them.

    For example: jbatch check experiments/digits.py increasing
    """


def run(arguments: Sequence[str]) -> int | None:
    """Print the outcome of each check."""
    _, _, _, _, experiment = file_and_variant(Options, arguments, USAGE)
    if jax.config.jax_platforms in (None, "cpu"):  # type: ignore[attr-defined]  # set at run time
        with suppress(RuntimeError):  # in a process that has used its devices already
            jax.config.update("jax_num_cpu_devices", SIMULATED)

    from jbatch.analysis.split_check import check_experiment

    prepare_libraries()
    failed = 0
    for checked in check_experiment(experiment, jax.devices()):
        failed += not checked.passed
        show(f"{'ok    ' if checked.passed else 'FAILED'}  {checked.what}: {checked.found}")
    if failed:
        show(f"{counted(failed, 'check')} failed")
        return FAILED
    return None
