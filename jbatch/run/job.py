"""Resolve an experiment, once, into the values that decide a run."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

import jax

from jbatch import __version__
from jbatch.data.inputs import Loaded
from jbatch.data.sources import Named
from jbatch.devices import cores
from jbatch.devices.environment import LIBRARIES
from jbatch.distributed import agree
from jbatch.experiment.described import describe
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.identity import Identity
from jbatch.experiment.origin import Origin
from jbatch.experiment.weights import Weights
from jbatch.plan.adapt import Adaptive
from jbatch.plan.decided import Growths
from jbatch.plan.plan import Plan
from jbatch.plan.table import plan_text
from jbatch.run.build import make_setup
from jbatch.run.check import check, warnings
from jbatch.run.initial import weights_digest
from jbatch.run.saved_task import SavedTask, dumped
from jbatch.step import programs
from jbatch.step.driver import measures
from jbatch.step.programs import Setup
from jbatch.step.pure import state_shapes

SHOWN = 12  # characters of a hash


@dataclass(frozen=True)
class Limits:
    """The user's limits on how updates are split; jbatch chooses what is None."""

    micro_batch: int | None
    device_memory: float | None  # GiB


@dataclass(frozen=True)
class Moments:
    """The updates after which a run evaluates, saves and logs."""

    evaluations: frozenset[int]
    saves: frozenset[int]
    kept: frozenset[int]  # of the saves, those that stay
    logs: frozenset[int]
    decisions: frozenset[int]  # of an adaptive run, on its batch size
    calls: tuple[int, ...]  # sorted; a call of the step never crosses one


class Evaluated(NamedTuple):
    """What a run evaluates on: the test part of `data`."""

    setup: Setup
    data: Loaded


class Planned(NamedTuple):
    """What an adaptive run's decisions change of its job."""

    plan: Plan
    table: str  # printed
    moments: Moments


@dataclass(frozen=True)
class Job:
    """Everything that decides a run."""

    plan: Plan
    table: str  # the printed plan
    setup: Setup
    data: Loaded
    validation: Evaluated | None  # None: the run evaluates on the test set alone
    seed: int
    limits: Limits
    moments: Moments
    identity: Identity
    measure_distance: bool
    keep_best: str | None
    init: Weights | None
    warnings: tuple[str, ...]
    adaptive: Adaptive | None  # None: the plan is all there is to decide
    planned: Callable[[Growths], Planned]  # an adaptive run's plan, with its decisions

    def decided(self, growths: Growths) -> "Job":
        """Return the job after an adaptive run's decisions."""
        plan, table, moments = self.planned(growths)
        return replace(self, plan=plan, table=table, moments=moments)

    @property
    def test(self) -> Evaluated:
        """The test set."""
        return Evaluated(self.setup, self.data)

    @property
    def evaluated(self) -> Evaluated:
        """What the run evaluates on again and again: the validation set, or else the test set."""
        return self.validation or self.test

    @property
    def evaluations(self) -> tuple[Setup, ...]:
        """The setups of all evaluations, the first one first."""
        return tuple(dict.fromkeys((self.evaluated.setup, self.setup)))

    @property
    def batch_sizes(self) -> list[int]:
        """The batch size of each phase; of a run that decides, all that it may come to."""
        if self.plan.decided is not None:
            return list(self.plan.sizes)
        return [phase.batch_size for phase in self.plan.phases]

    @property
    def kept_examples(self) -> list[int]:
        """Examples seen at the checkpoints that stay."""
        return sorted(self.plan.position(update) for update in self.moments.kept)

    def to_come(self, update: int) -> list[int]:
        """Return the batch sizes from an update on, in order."""
        if update == self.plan.num_updates:
            return []
        row = self.plan.at(update)
        if self.adaptive is not None:
            return [size for size in self.plan.sizes if size >= row.batch_size]
        return [phase.batch_size for phase in self.plan.phases[row.phase :]]


def resolve(
    experiment: Experiment, devices: Sequence[jax.Device], origin: Origin | None = None
) -> Job:
    """Resolve an experiment into a `Job`. The later steps of opening a run see only the job.

    Args:
        experiment: what to train.
        devices: the devices of all processes.
        origin: where the experiment was read from.

    Raises:
        Mistake: if its parts do not fit together, or differ between processes.
    """
    job = agree.together("what is trained", lambda: _resolved(experiment, devices, origin))
    if job.init is not None:  # all processes load it together
        job = replace(job, identity=replace(job.identity, init=weights_digest(job.init)))
    if jax.process_count() > 1:
        agree.check_same(_to_share(job))
    return job


def _resolved(experiment: Experiment, devices: Sequence[jax.Device], origin: Origin | None) -> Job:
    plan = experiment.make_plan()
    check(experiment, plan, cores.needed(devices))
    setup, data = make_setup(experiment, plan, devices)
    validation = validation_of(setup, data)
    named = experiment.data if isinstance(experiment.data, Named) else None
    planned = partial(_planned, experiment, setup)
    _, table, moments = planned(())
    identity = Identity(
        origin=origin,
        described=describe(experiment),
        plan=plan.digest,
        data=data.digest(),
        covered=data.covered,
        program=programs.identity(setup),
        table=table,
        validation=None if validation is None else validation.data.digest(),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state_shapes(setup.learner).params)),
        task=dumped(SavedTask(setup.learner, data.about.class_names, named)),
        series=experiment.series,
        point=experiment.point,
    )
    return Job(
        plan=plan,
        table=table,
        setup=setup,
        data=data,
        validation=validation,
        seed=experiment.seed,
        limits=Limits(experiment.micro_batch, experiment.device_memory),
        moments=moments,
        identity=identity,
        measure_distance=experiment.measure_distance,
        keep_best=experiment.keep_best,
        init=experiment.init,
        warnings=(*plan.warnings, *warnings(experiment, plan)),
        adaptive=experiment.adaptive if experiment.adapts else None,
        planned=planned,
    )


def _planned(experiment: Experiment, setup: Setup, growths: Growths) -> Planned:
    """Return the plan of a run, after the growths that it has decided on, if it does so."""
    plan = experiment.make_plan(growths)
    if plan.decided is not None and growths:
        begun = experiment.make_plan().digest
        plan = replace(plan, decided=replace(plan.decided, begun=begun))
    table = plan_text(plan, experiment.plan.decaying_plan(), experiment.adapts)
    return Planned(plan, table, _moments(experiment, plan, setup))


def validation_of(setup: Setup, data: Loaded) -> Evaluated | None:
    """Return the validation set, if the data has one; raise Mistake if the task refuses it."""
    held_out = data.validation()
    if held_out is None:
        return None
    if held_out.about.test is not None:
        setup.task.check("validation", held_out.about.test)
    return Evaluated(replace(setup, inputs=held_out.inputs), held_out)


def _moments(experiment: Experiment, plan: Plan, setup: Setup) -> Moments:
    def moments(every: float | None, epochs: float, times: int) -> frozenset[int]:
        """Return the updates at an interval: by default so many epochs, or times in a stream."""
        if every is None and plan.num_examples is not None:
            return plan.crossings(epochs, "epochs")
        return plan.crossings(plan.length / times if every is None else every)

    evaluations = moments(experiment.eval_every, 1, 10) | {0}
    changes = {phase.first_update for phase in plan.phases[1:]}
    kept = plan.crossings(experiment.keep_every) if experiment.keep_every else frozenset()
    saves = moments(experiment.save_every, 10, 10) | changes | kept
    logs = moments(experiment.log_every, 1, 100)
    # Calls also end with each epoch, which has its own order, and each phase, which has its own
    # program. `saves` includes the starts of the phases.
    calls = evaluations | saves | logs
    if plan.num_examples is not None:
        calls |= plan.crossings(1, "epochs")
    decisions: frozenset[int] = frozenset()
    if experiment.adaptive is not None and experiment.adapts:
        every = experiment.adaptive.every
        decisions = frozenset(range(every, plan.num_updates, every))
        calls |= decisions
    if setup.learner.noise_of is not None and setup.devices == 1:  # one that measures is alone
        alone = filter(measures, range(plan.num_updates))
        calls |= {end for update in alone for end in (update, update + 1)}
    return Moments(evaluations, saves, kept, logs, decisions, tuple(sorted(calls)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:SHOWN]


def _to_share(job: Job) -> dict[str, str]:
    """Return the values that all processes must share, in short forms that a user can compare."""
    identity = job.identity
    described = json.dumps(identity.described, sort_keys=True)
    versions = {"jbatch": __version__, **{name: version(name) for name in LIBRARIES}}
    return {f"the version of {name}": number for name, number in versions.items()} | {
        "the plan": identity.plan[:SHOWN],
        "the experiment": _short(described),
        "the data": identity.data[:SHOWN],
        "the validation set": str(identity.validation)[:SHOWN],
        "the program of an update": identity.program[:SHOWN],
        "the weights of init": str(identity.init)[:SHOWN],
        # Each process has computed it from the data, by its own linear algebra.
        "the whitening kernel": _short(repr(getattr(job.setup.task, "whitening", ()))),
        "measure_distance": str(job.measure_distance),
        # They decide when all processes evaluate and save together.
        "the moments of evaluating, saving and logging": _short(repr(job.moments.calls)),
        "keep_best": str(job.keep_best),
    }
