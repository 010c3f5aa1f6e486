"""Compile a plan for chips that this machine lacks: `python -m jbatch.estimate.worker`.

A separate process, since libtpu and its environment variables affect the whole process. It reads a
`Question` as JSON from stdin and writes lines of JSON: {"say": …} for progress, then {"answer": …}
or {"mistake": …}.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from inspect import getsource
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jbatch.errors import Mistake
from jbatch.estimate import gpus, hlo_costs, hlo_text, traffic
from jbatch.estimate.gpus import GPUS, description
from jbatch.estimate.hlo_costs import Facts, facts_of, stored_facts
from jbatch.experiment.overrides import override
from jbatch.files import write_whole
from jbatch.plan import passes
from jbatch.plan.layout import Layout
from jbatch.plan.plan import Plan
from jbatch.run.build import counted, paper_setup
from jbatch.run.check import task_and_data
from jbatch.run.reopen import load_experiment_file
from jbatch.step import flops, held, programs
from jbatch.step.fits import check_fits, largest, unlimited_if_refused
from jbatch.step.programs import Setup
from jbatch.text import byte_size

if TYPE_CHECKING:
    import jax

SHAPES = tuple("12345678")  # of GPUs: so many of one node, whose links are those of `CHIPS`
GPU_OPTIONS: dict[str, str | bool] = {
    "xla_gpu_autotune_level": "0"
}  # no GPU is here to time kernels on


@dataclass(frozen=True)
class Question:
    """Hold the experiment to compile and the target."""

    file: str
    variant: str
    overrides: list[str]
    trusted: bool
    topology: str  # as "v5e:4x4"
    available: int  # bytes of a chip's memory
    cache: str  # folder of stored answers


class Call(NamedTuple):
    """Count the calls of one program in an update."""

    times: int
    facts: Facts


class Work(NamedTuple):
    """Hold the work of one device in one update at one batch size."""

    share: int  # its examples of the update
    micro_batch: int  # examples
    memory: int  # peak bytes
    calls: list[Call]


class Compiler:
    """Compile for one topology, and store the answers on disk."""

    def __init__(self, topology: str, setup: Setup, cache: Path, tell: Callable[..., None]):
        self._topology, self.setup, self._cache, self._tell = topology, setup, cache, tell
        self._known: dict[tuple[Setup, passes.Call], Facts] = {}

    def facts(self, setup: Setup, call: passes.Call) -> Facts:
        """Return the costs of a call, of `setup` as it is at the call's batch size."""
        known = setup, call
        if known not in self._known:  # even a stored answer needs slow tracing
            self._known[known] = self._found(setup, call)
        return self._known[known]

    def _found(self, setup: Setup, call: passes.Call) -> Facts:
        lowered = programs.lowered(setup, call)
        on_gpus = self._topology.partition(":")[0] in GPUS
        compiler = version("jax-cuda12-plugin" if on_gpus else "libtpu")
        counting = [getsource(each) for each in (hlo_costs, hlo_text, traffic, gpus)]
        versions = version("jax"), compiler, counting
        what = (self._topology, Facts._fields, versions, lowered.as_text())
        path = self._cache / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()}.json"
        name = "the end of an update"
        if not isinstance(call, passes.Apply):
            name = f"{call.layout.per_device:,} per device"
        if not path.exists():
            self._tell(say=f"compiling {name} for {self._topology}")
            begun = time.monotonic()
            found = facts_of(lowered.compile(GPU_OPTIONS if on_gpus else None))
            if on_gpus and not isinstance(call, passes.Apply):
                found = found._replace(flops=flops.of_pass(setup.learner, call.layout))
            self._tell(say=f"{byte_size(found.memory.total)}, {time.monotonic() - begun:.0f} s")
            with suppress(OSError):  # another process may write it; the folder may be read-only
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, json.dumps(found))
            return found
        return stored_facts(json.loads(path.read_text()))

    def needs(self, sizes: Collection[int], call: passes.Pass) -> float:
        """Return the bytes that one device needs during a pass, including the state it holds.

        They are the most of a pass at any of these batch sizes.
        """
        setups = dict.fromkeys(map(self.setup.at, sizes))  # several if phases have sides
        with unlimited_if_refused() as refused:
            return max(
                self.facts(each, call).memory.total + held.beside(each, call) for each in setups
            )
        return refused

    def work(self, plan: Plan, micro_batch: int | None) -> dict[int, Work]:
        """Return batch size → work, for each batch size of the plan."""
        group = self.setup.task.group
        sizes = set(plan.sizes)
        found = {}
        for size, made in passes.cut(sizes, self.setup.devices, group, micro_batch).items():
            counted = Counter(made.program)
            setup = self.setup.at(size)  # its images may have a side of their own
            calls = [Call(times, self.facts(setup, call)) for call, times in counted.items()]
            biggest = max(made.calls, key=lambda call: call.layout.per_device)
            needed = int(self.needs([size], biggest))
            share = size // self.setup.devices
            found[size] = Work(share, biggest.layout.per_device, needed, calls)
        return found


def answer(question: Question, tell: Callable[..., None]) -> dict[str, Any]:
    """Compute the work of an update at each batch size, on the topology and on one chip of it."""
    file = load_experiment_file(Path(question.file), question.trusted)
    experiment = override(file.variant(question.variant), question.overrides, "jbatch plan")
    task, _ = task_and_data(experiment)
    experiment = counted(experiment)
    plan = experiment.make_plan()
    devices, group = topology_devices(question.topology), task.group
    plan.check(len(devices), group)
    one = re.sub(r"\d+(?=x|$)", "1", question.topology)

    def compiler(topology: str) -> Compiler:
        setup = paper_setup(experiment, plan, topology_devices(topology))
        return Compiler(topology, setup, Path(question.cache), tell)

    here = compiler(question.topology)
    alone = here if one == question.topology else compiler(one)
    sizes = set(plan.sizes)

    def probe(call: passes.Pass) -> float:
        layout = call.layout
        return alone.needs(sizes, passes.Accumulate(Layout(layout.per_device, 1, layout.group)))

    choose = partial(largest, sizes, ghost_batch=group, available=question.available, probe=probe)
    micro_batch = experiment.micro_batch
    if micro_batch is None:
        micro_batch = choose(devices=len(devices), needs=partial(here.needs, sizes))
    else:
        made = passes.cut(sizes, len(devices), group, micro_batch)
        check_fits(micro_batch, made, question.available, partial(here.needs, sizes))
    of_one = experiment.micro_batch or choose(devices=1, needs=partial(alone.needs, sizes))
    return {
        "devices": len(devices),
        "work": here.work(plan, micro_batch),
        "alone": alone.work(plan, of_one),
    }


def topology_devices(name: str) -> "list[jax.Device]":
    """Return the devices of a topology that libtpu knows, one for each chip, or of GPUs."""
    from jax.experimental import topologies

    version_of, _, shape = name.partition(":")
    if version_of in GPUS:
        if shape not in SHAPES:
            raise Mistake(f"--on {name}: give {version_of}:1 to {version_of}:8, the GPUs of a node")
        told = description(GPUS[version_of])
        node = topologies.get_topology_desc("", "cuda", target_config=told, topology=f"1x1x{shape}")
        return list(node.devices)
    # Two cores of a v4 or v5p chip count as one device.
    options = {"chip_config_name": "megacore"} if version_of in ("v4", "v5") else {}
    try:
        devices = topologies.get_topology_desc(name, "tpu", **options).devices
    except Exception as error:  # libtpu raises errors of several classes
        said = str(error).splitlines()[0]
        raise Mistake(f"libtpu knows no topology {name} ({said}): give one like v5e:4x4") from error
    chips = 1
    for side in shape.split("x"):
        chips *= int(side)
    if len(devices) != chips:
        raise RuntimeError(f"{name} has {len(devices)} devices for {chips} chips, not one for each")
    return list(devices)


def main() -> int:
    """Answer the question on stdin."""
    # libtpu writes to stdout too: move stdout to stderr, so that only answers are read.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)

        def tell(**line: object) -> None:
            print(json.dumps(line), file=answers, flush=True)

        try:
            tell(answer=answer(Question(**json.load(sys.stdin)), tell))
        except Mistake as mistake:
            tell(mistake=str(mistake))
    return 0


if __name__ == "__main__":
    sys.exit(main())
