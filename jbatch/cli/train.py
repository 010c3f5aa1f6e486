"""`jbatch train`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jbatch.cli.arguments import Log, RunsCode, file_and_variant, leading, split_options
from jbatch.cli.help import wants_help
from jbatch.devices.cores import each_a_device
from jbatch.distributed import agree, supervise
from jbatch.errors import Mistake, whole
from jbatch.experiment.overrides import override
from jbatch.files import expanded
from jbatch.messages import show
from jbatch.run.directory import directory_of
from jbatch.run.libraries import prepare_libraries

USAGE = "jbatch train FILE VARIANT"


@dataclass(frozen=True)
class Options(RunsCode):
    """Train one variant of an experiment; run the same command again to resume.

    The options may also change the experiment's fields: jbatch train FILE VARIANT --help lists
    them.

    For example: jbatch train experiments/digits.py increasing --run-dir runs/digits
    """

    run_dir: Path | None = None
    """The run's directory. None: runs/FILE/VARIANT/seed-SEED. Several hosts must share it."""
    until_phase: int | None = None
    """Stop at the end of this phase of the plan: save a checkpoint and exit with code 3."""
    replay: Path | None = None
    """Take the batch sizes from this finished adaptive run: what it has decided becomes a fixed
    plan (docs/adaptive.md)."""
    accept_plan_change: bool = False
    """Resume with a plan that has changed since the run began, from the examples already seen."""
    profile: bool = False
    """Trace some updates of each phase for xprof, into profile/ of the run's directory."""
    log: Log = ()
    """Follow the run with a tracker too: wandb, mlflow or trackio, with its fields, for example
    wandb:project=x,entity=y; give it once for each. TensorBoard's files are always written."""
    distributed: bool = False
    """Train as one of several processes. Give every process the same command."""
    coordinator: str | None = None
    """HOST:PORT of process 0. None: JAX detects it (Cloud TPU, GKE, SLURM, Open MPI)."""
    num_processes: int | None = None
    """Number of processes. None: JAX detects it."""
    process_id: int | None = None
    """Index of this process, from 0. None: JAX detects it."""

    def __post_init__(self) -> None:
        together = {
            "--coordinator": self.coordinator,
            "--num-processes": self.num_processes,
            "--process-id": self.process_id,
        }
        given = [name for name, value in together.items() if value is not None]
        if given and not self.distributed:
            raise Mistake(f"{given[0]} is only for several processes: give --distributed too")
        if self.coordinator is not None:
            port = re.fullmatch(r".+:(\d{1,5})", self.coordinator)
            if port is None or not 0 < int(port[1]) < 2**16:
                raise Mistake(
                    f"--coordinator is {self.coordinator}: give HOST:PORT with a port of 1 to "
                    "65535, for example host0:8476"
                )
        if self.num_processes is not None:
            whole("--num-processes", self.num_processes, most=2**20)
        if self.process_id is not None:
            whole("--process-id", self.process_id, least=0)
            if self.num_processes is not None and self.process_id >= self.num_processes:
                raise Mistake(
                    f"--process-id is {self.process_id} of {self.num_processes} processes: give 0 "
                    f"to {self.num_processes - 1}"
                )
        if given and len(given) < len(together):
            missing = " ".join(name for name in together if name not in given)
            raise Mistake(f"{' '.join(given)}: give {missing} too, or none of the three")


def run(arguments: Sequence[str]) -> int | None:
    """Train the variant, or resume it, and print how the run ended."""
    _, rest = leading(arguments)
    if "--distributed" in rest and not wants_help(rest):
        options, _ = split_options(Options, rest)
        if not supervise.supervised():
            return supervise.run("jbatch.cli.member", ["train", *arguments])
        # Join before reading the experiment, since its values may touch a device.
        found = agree.join(options.coordinator, options.num_processes, options.process_id)
        agree.say(found)
    each_a_device()
    file, variant, options, overrides, experiment = file_and_variant(Options, arguments, USAGE)
    named = variant
    if options.replay is not None:
        from jbatch.run.replay import replayed

        again = replayed(expanded(options.replay), experiment)
        overrides, experiment = (*overrides, *again), override(experiment, again, USAGE)
        named = f"{variant}, replayed"
    origin = file.origin(variant, overrides)
    directory = options.run_dir or directory_of(
        Path("runs") / file.path.stem, named, experiment.seed
    )

    from jbatch.report.account import account
    from jbatch.run.loop import fit
    from jbatch.run.progress import progress

    prepare_libraries()
    run = fit(
        experiment,
        directory,
        origin=origin,
        progress=progress(),
        label=variant,
        until_phase=options.until_phase,
        accept_plan_change=options.accept_plan_change,
        profile=options.profile,
        log=options.log,
    )
    if agree.first():
        show(account(run, directory))
    return None
