"""`jbatch plan`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jbatch.cli.arguments import RunsCode, file_and_variant, leading, read_options
from jbatch.errors import Mistake, positive, whole
from jbatch.experiment.experiment import Experiment
from jbatch.files import cache_folder, expanded
from jbatch.messages import tell
from jbatch.plan.growth_cost import (
    assumed,
    growth_cost,
    growth_cost_json,
    growth_cost_text,
)
from jbatch.plan.passes import cut
from jbatch.plan.plan import Plan
from jbatch.plan.quadratic import predicted, predicted_text
from jbatch.plan.table import plan_json, plan_text
from jbatch.printable import printable
from jbatch.run.check import warnings
from jbatch.run.measured_noise import measured_gradients
from jbatch.text import byte_size

if TYPE_CHECKING:
    from jbatch.plan.layout import Layout
    from jbatch.step.programs import Setup

USAGE = "jbatch plan FILE VARIANT"
OF_RUN = "jbatch plan DIR"
MOST_DEVICES = 100_000  # ten times the largest machine


@dataclass(frozen=True)
class Options(RunsCode):
    """Print the plan of an experiment's variant: every phase; needs no device.

    The options may also change the experiment's fields: jbatch plan FILE VARIANT --help lists
    them. Of a run, jbatch plan DIR prints what was done, and what an adaptive run has decided.

    For example: jbatch plan experiments/digits.py increasing --plan.max-batch-size 64
    """

    devices: int | None = None
    """Check that this many devices can share every batch; print the memory that each needs."""
    on: str | None = None
    """Compile for these TPUs or GPUs, for example v5e:16x16 or h100:8, and estimate hours per
    phase; needs none of them."""
    noise_scale: float | None = None
    """Print what growth costs in a bound of the loss, at a gradient noise scale trΣ/|G|² of so many
    examples."""
    noise_from: Path | None = None
    """The same, at the gradient noise scale that the run of this directory has measured."""
    predict: bool = False
    """Print the final loss of a noisy quadratic under this plan, as a multiple of that with the
    batch kept."""
    price_per_chip_hour: float | None = None
    """With --on: also print the cost of the whole plan, at this price."""
    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        if self.devices is not None:
            whole("--devices", self.devices, most=MOST_DEVICES)
            if self.on is not None:
                raise Mistake(f"--devices {self.devices} and --on {self.on}: give only one")
        if self.noise_scale is not None:
            positive("--noise-scale", self.noise_scale, of="a number of examples")
            if self.noise_from is not None:
                raise Mistake("--noise-scale and --noise-from both give a noise scale: give one")
        if self.price_per_chip_hour is not None:
            positive("--price-per-chip-hour", self.price_per_chip_hour)
            if self.on is None:
                raise Mistake("--price-per-chip-hour needs --on: give --on TOPOLOGY too")


def run(arguments: Sequence[str]) -> None:
    """Print the plan."""
    # Schedules need only the CPU. Another process may be using the accelerator.
    jax.config.update("jax_platforms", "cpu")
    names, rest = leading(arguments)
    if len(names) == 1 and expanded(Path(names[0])).is_dir():
        _print_run(expanded(Path(names[0])), read_options(Options, rest, OF_RUN))
        return
    file, variant, options, overrides, experiment = file_and_variant(Options, arguments, USAGE)
    coupling = experiment.plan
    unmeasured = coupling.unit == "tokens" and coupling.sequence_length is None
    if coupling.num_examples is None or unmeasured:
        from jbatch.run.build import counted  # here: it reads data, and imports what that needs

        experiment = counted(experiment)
    plan = experiment.make_plan()
    plan = replace(plan, warnings=(*plan.warnings, *warnings(experiment, plan)))
    decaying = experiment.plan.decaying_plan()
    values, text = plan_json(plan, decaying), plan_text(plan, decaying, experiment.adapts)
    if options.noise_scale is not None or options.noise_from is not None or options.predict:
        found, said = _noise(options, experiment, plan)
        values |= found
        text += said
    if options.devices is not None:
        memory = _memory(experiment, plan, options.devices)
        values["memory"] = memory
        text += _memory_text(memory, options.devices)
    if options.on is not None:
        values["estimate"], more = _estimate(
            options, options.on, file.path, variant, overrides, plan
        )
        text += f"\n{more}\n"
    sys.stdout.write(json.dumps(values, indent=2) + "\n" if options.json else printable(text))


def _print_run(directory: Path, options: Options) -> None:
    """Print the plan of a run, as far as it has been decided."""
    if options != Options(json=options.json, trust=options.trust):
        raise Mistake(
            f"{OF_RUN} prints what a run has done, with --json as its only option: for others give "
            f"{USAGE}"
        )
    from jbatch.run.decisions import decisions_text, read_decisions
    from jbatch.run.directory import read_run
    from jbatch.run.kept import read_plan, text_in

    plan = read_plan(directory, read_run(directory)["plan_digest"])
    decisions = read_decisions(directory)
    values, text = plan_json(plan, None), text_in(directory / "plan.txt")
    if plan.decided is not None and decisions:
        values["decisions"] = decisions
        text += f"\n{decisions_text(decisions)}"
    sys.stdout.write(json.dumps(values, indent=2) + "\n" if options.json else printable(text))


def _noise(options: Options, experiment: Experiment, plan: Plan) -> tuple[dict[str, Any], str]:
    """Return what growth costs, and what a noisy quadratic predicts (as JSON, as text)."""
    values: dict[str, Any] = {}
    decaying, text = experiment.plan.decaying.plan(), ""
    base = int(decaying.batch_sizes[0])
    gradients = None
    if options.noise_scale is not None:
        gradients = assumed(options.noise_scale)
    elif options.noise_from is not None:
        gradients = measured_gradients(options.noise_from)
    if gradients is not None:
        cost = growth_cost(plan, base, gradients)
        values["growth_cost"] = growth_cost_json(cost)
        text += f"\n{growth_cost_text(cost)}\n"
    if options.predict:
        scale = float(base) if gradients is None else gradients.at_the_start
        ratio = predicted(plan, decaying, scale)
        values["predicted"] = {"noise_scale": scale, "loss_ratio": ratio}
        text += f"\n{predicted_text(ratio, base, scale)}\n"
    return values, text


def _memory(experiment: Experiment, plan: Plan, devices: int) -> dict[str, int] | None:
    """Return bytes by part of what one device holds in the phase that needs most.

    None for an experiment without a network.

    Raises:
        Mistake: if the devices cannot share every batch.
    """
    group = None if experiment.task is None else experiment.task.group
    plan.check(devices, group)
    passes = cut(set(plan.sizes), devices, group, experiment.micro_batch)
    if experiment.task is None or experiment.data is None:
        return None
    from jbatch.run.build import paper_setup
    from jbatch.step.held import in_memory

    setup = paper_setup(experiment, plan, devices)
    layouts: dict[Setup, list[Layout]] = {}  # of several setups if phases have tasks of their own
    for size, of_batch in passes.items():
        layouts.setdefault(setup.at(size), []).extend(of_batch.layouts)
    found = []
    for each, its in layouts.items():
        largest = max(its, key=lambda layout: layout.per_device)
        found.append((largest.per_device, in_memory(each, largest)))
    micro_batch, held = max(found, key=lambda pair: sum(pair[1].values()))
    return {"micro_batch": micro_batch, **held}


def _memory_text(memory: dict[str, int] | None, devices: int) -> str:
    if memory is None:
        return ""
    micro_batch, *parts = memory.items()
    held = ", ".join(f"{name} {byte_size(size)}" for name, size in parts)
    return (
        f"\nMemory of each of {devices:,} devices, with a micro-batch of {micro_batch[1]:,}: "
        f"{held}.\nActivations: an upper bound, every value of the forward pass that the backward "
        "pass can use; compilers keep a third to all of it. A smaller --micro-batch needs less.\n"
    )


def _estimate(
    options: Options, on: str, file: Path, variant: str, overrides: Sequence[str], plan: Plan
) -> tuple[dict[str, Any], str]:
    """Return the estimate (as JSON, as text)."""
    from jbatch.estimate.chips import CHIPS
    from jbatch.estimate.client import ask
    from jbatch.estimate.roofline import estimate
    from jbatch.estimate.table import estimate_json, estimate_text
    from jbatch.estimate.worker import Question

    prefix, _, shape = on.partition(":")
    chip = next((chip for chip in CHIPS if prefix in (chip.prefix, chip.name)), None)
    if chip is None:
        known = ", ".join(chip.name for chip in CHIPS)
        raise Mistake(f"--on {on}: give one of {known} and a shape, for example v5e:4x4 or h100:8")
    available = int(chip.memory * chip.usable)
    question = Question(
        file=str(file),
        variant=variant,
        overrides=list(overrides),
        trusted=options.trust,
        topology=f"{chip.prefix}:{shape}",
        available=available,
        cache=str(cache_folder("pod")),
    )
    chips, works, alone = ask(question, lambda text: tell(f"jbatch: {text}"))
    stretches = estimate(plan, chip, chips, works, alone)
    price = options.price_per_chip_hour
    return (
        estimate_json(stretches, chip, chips, price),
        estimate_text(stretches, chip, chips, available, price),
    )
