"""Build a run's setup (task, data, devices) from its experiment, and check that the parts fit."""

from collections.abc import Sequence
from dataclasses import replace

import jax
from jax.sharding import AbstractMesh

from jbatch.data.about import About
from jbatch.data.abstract import on_paper
from jbatch.data.inputs import Loaded
from jbatch.data.open import load, num_examples
from jbatch.data.text.tokens import Tokens
from jbatch.devices import cores, meshes
from jbatch.devices.memory import available, of_host
from jbatch.devices.sound import check_sound
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.optimizer import asks
from jbatch.plan.adapt import NoiseScale
from jbatch.plan.layout import AXIS
from jbatch.plan.plan import Plan
from jbatch.run.check import task_and_data
from jbatch.step import held, pure
from jbatch.step.calls import updates_per_call
from jbatch.step.cores import worthwhile
from jbatch.step.programs import Setup
from jbatch.step.traceable import check_learner
from jbatch.task.base import Learner, Task
from jbatch.text import byte_size

RANKED = 20  # bytes of an example while `data.order` ranks an epoch: a key, a place, an index
MOST_ORDERED = 2**31 - 1  # an index is int32
MOST_PLACES = 2**32  # of an order that is computed, or a stream's own: the places in it are uint32
ENDLESS = 2**62  # N of a stream, for its gradient noise


def make_setup(
    experiment: Experiment, plan: Plan, devices: Sequence[jax.Device]
) -> tuple[Setup, Loaded]:
    """Return the `Setup` of the compiled functions, and the data; raise Mistake on a mismatch."""
    task, source = task_and_data(experiment)
    check_sound()
    if experiment.mapping == "pmap" and jax.process_count() > 1:
        raise Mistake(  # JAX cannot compile pmap ahead for several processes
            f"mapping is pmap, which works with one process, but there are {jax.process_count()}: "
            "give --mapping shard_map"
        )
    if experiment.mapping == "pmap" and experiment.optimizer_state == "sharded":
        raise Mistake(
            "optimizer_state is sharded, which pmap cannot do: give --mapping shard_map, or "
            "--optimizer-state replicated"
        )
    data = load(source)
    _check_count(data.inputs.num_examples, plan, isinstance(source, Tokens))
    learner = _learner(experiment, task.fitted(data.about), data.about, plan)
    if cores.optional(devices):
        devices = devices[: worthwhile(learner, plan.sizes, len(devices))]
    setup = Setup(
        learner=learner,
        inputs=data.inputs,
        mesh=meshes.make_mesh(devices),
        mapping=experiment.mapping,
        updates_per_call=updates_per_call(
            experiment.updates_per_call,
            _learners(learner, plan),
            data.inputs,
            devices[0].platform,
        ),
        optimizer_state=experiment.optimizer_state,
    )
    _check_room(setup)
    return setup, data


def _learner(experiment: Experiment, task: Task, about: About, plan: Plan) -> Learner:
    """Return what an update does, after a look whether it can be traced."""
    optimizer, average = experiment.optimizer, experiment.average
    frozen = (*task.frozen, *(experiment.init.freeze if experiment.init else ()))
    noise_of = (plan.num_examples or ENDLESS) if experiment.measure_noise else None
    learner = Learner(
        *(task, about.example, optimizer, plan.momentum, average, frozen),
        held=(*plan.hold.names, *asks(optimizer)),
        noise_of=noise_of,
    )
    check_learner(learner)
    for kind, size in {task.at(size): size for size in reversed(plan.sizes)}.items():  # each once
        if kind != task:
            try:
                check_learner(learner._replace(task=kind))
            except Mistake as error:
                raise Mistake(f"in updates of {size:,} examples, {error}") from error
    _check_metric(experiment, learner)
    return learner


def _learners(learner: Learner, plan: Plan) -> list[Learner]:
    """Return what the updates of each phase do, each once."""
    tasks = dict.fromkeys(map(learner.task.at, plan.sizes))
    return [learner._replace(task=task) for task in tasks]


def _check_metric(experiment: Experiment, learner: Learner) -> None:
    """Raise Mistake if a rule reads the noise in Adam's metric, and the optimizer has none."""
    rule = experiment.adaptive and experiment.adaptive.rule
    if isinstance(rule, NoiseScale) and rule.metric == "adam":
        noise = pure.state_shapes(learner).noise
        if noise is not None and noise.trace.shape[0] < 2:
            raise Mistake(
                "adaptive.rule.metric is adam, but the optimizer keeps no second moments of all "
                "parameters: give plain, or Adam or its kin as optimizer"
            )


def _check_count(count: int | None, plan: Plan, computed: bool) -> None:
    """Check the number of training examples.

    Args:
        count: of the data; None for a stream without an end.
        plan: must be for as many.
        computed: whether their order is computed, and not ranked as a whole.

    Raises:
        Mistake: if it is not the plan's, or there is no room for the order of an epoch.
    """
    if count is None and plan.num_examples is not None:
        raise Mistake(
            f"the training records have no len, but the plan is for {plan.num_examples:,}: leave "
            "plan.num_examples out, and give plan.length"
        )
    if count is not None and count != plan.num_examples:
        planned = "a stream" if plan.num_examples is None else f"{plan.num_examples:,}"
        raise Mistake(
            f"the training set has {count:,} examples, but the plan is for {planned}: "
            f"set plan.num_examples to {count}"
        )
    if count is None or computed:
        if (most := count or plan.end) > MOST_PLACES:
            raise Mistake(
                f"there are {most:,} examples without a break, but at most {MOST_PLACES:,} have "
                "random keys of their own: give longer examples, or a shorter run"
            )
        return
    needed, there = RANKED * count, of_host()
    if needed > there or count > MOST_ORDERED:
        raise Mistake(
            f"the training set has {count:,} examples. Ordering an epoch of them takes "
            f"{byte_size(needed)} of {byte_size(there)} of memory, and an order has at most "
            f"{MOST_ORDERED:,}: give a part of the records, as many as the run sees"
        )


def _check_room(setup: Setup) -> None:
    """Raise Mistake if parameters, optimizer state and gradient do not fit in memory."""
    params = pure.state_shapes(setup.learner).params
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params))
    local = setup.mesh.local_devices
    needed, there = sum(held.of_state(setup).values()), available(local[0])
    if there is None:
        needed, there = needed * len(local), of_host()
    if needed > there:
        shard = setup.devices > 1 and not setup.sharded
        raise Mistake(
            f"the network has {numbers:,} parameters. With optimizer and gradient they need "
            f"{byte_size(needed)}, but there are {byte_size(there)} of memory: give a smaller "
            f"network{', or --optimizer-state sharded' if shard else ''}"
        )


def paper_setup(experiment: Experiment, plan: Plan, devices: int | Sequence[jax.Device]) -> Setup:
    """Return a `Setup` without reading data, for a number of abstract devices or for real ones."""
    task, source = task_and_data(experiment)
    inputs, about = on_paper(source, plan.examples_per_epoch)
    learner = _learner(experiment, task.fitted(about), about, plan)
    if isinstance(devices, int):
        on_paper_alone = AbstractMesh((devices,), (AXIS,))
        return Setup(
            *(learner, inputs, on_paper_alone, "shard_map"),  # type: ignore[arg-type]  # for `in_memory`
            optimizer_state=experiment.optimizer_state,
        )
    learners = _learners(learner, plan)
    most = updates_per_call(experiment.updates_per_call, learners, inputs, devices[0].platform)
    mesh = meshes.make_mesh(devices)
    return Setup(learner, inputs, mesh, "shard_map", most, experiment.optimizer_state)


def counted(experiment: Experiment) -> Experiment:
    """Return the experiment with what its data says and its plan does not.

    These are the number of examples and, of a plan in tokens, the tokens of an example.
    """
    plan, data = experiment.plan, experiment.data
    if isinstance(data, Tokens) and plan.unit == "tokens" and plan.sequence_length is None:
        plan = replace(plan, sequence_length=data.sequence)
    if plan.num_examples is None and data is not None:
        count = num_examples(data)
        if count is None and (plan.unit == "epochs" or plan.length is None):
            raise Mistake(
                "the training records have no len, so there are no epochs: give plan.length, and "
                "plan.unit, which is examples, tokens or updates"
            )
        plan = replace(plan, num_examples=count)
    return experiment if plan is experiment.plan else replace(experiment, plan=plan)
