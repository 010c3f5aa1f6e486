"""Build a run's setup (task, data, devices) from its experiment, and check that the parts fit."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np
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
from jbatch.plan.layout import AXIS
from jbatch.plan.plan import Plan
from jbatch.run.check import task_and_data
from jbatch.step import pure
from jbatch.step.calls import updates_per_call
from jbatch.step.cores import worthwhile
from jbatch.step.programs import Setup
from jbatch.step.traceable import check_learner
from jbatch.task.base import Learner, Task
from jbatch.text import byte_size

RANKED = 20  # bytes of an example while `data.order` ranks an epoch: a key, a place, an index
MOST_ORDERED = 2**31 - 1  # an index is int32


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
    data = load(source)
    count = data.inputs.num_examples
    if count != plan.examples_per_epoch:
        raise Mistake(
            f"the training set has {count:,} examples, but the plan is for {plan.num_examples:,}: "
            f"set plan.num_examples to {count}"
        )
    _check_order(count)
    learner = _learner(experiment, task.fitted(data.about), data.about, plan)
    if cores.optional():
        devices = devices[: worthwhile(learner, np.unique(plan.batch_sizes).tolist(), len(devices))]
    _check_room(learner, devices)
    setup = Setup(
        learner=learner,
        inputs=data.inputs,
        mesh=meshes.make_mesh(devices),
        mapping=experiment.mapping,
        updates_per_call=updates_per_call(
            experiment.updates_per_call, learner, data.inputs, devices[0].platform
        ),
    )
    return setup, data


def _learner(experiment: Experiment, task: Task, about: About, plan: Plan) -> Learner:
    """Return what an update does, after a look whether it can be traced."""
    optimizer, average = experiment.optimizer, experiment.average
    frozen = experiment.init.freeze if experiment.init else ()
    noise_of = plan.examples_per_epoch if experiment.measure_noise else None
    learner = Learner(
        *(task, about.example, optimizer, plan.momentum, average, frozen),
        held=plan.hold.names,
        noise_of=noise_of,
    )
    check_learner(learner)
    return learner


def _check_order(count: int) -> None:
    """Raise Mistake if there is no room for the order of an epoch, which is ranked as a whole."""
    needed, there = RANKED * count, of_host()
    if needed > there or count > MOST_ORDERED:
        raise Mistake(
            f"the training set has {count:,} examples. Ordering an epoch of them takes "
            f"{byte_size(needed)} of {byte_size(there)} of memory, and an order has at most "
            f"{MOST_ORDERED:,}: give a part of the records, as many as the run sees"
        )


def _check_room(learner: Learner, devices: Sequence[jax.Device]) -> None:
    """Raise Mistake if parameters, optimizer state and gradient do not fit in memory."""
    shapes = pure.state_shapes(learner)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(shapes.params))
    # The gradient is as large as the parameters.
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((shapes, shapes.params))]
    local = [device for device in devices if device.process_index == jax.process_index()]
    held, there = sum(sizes), available(local[0])
    if there is None:
        held, there = held * len(local), of_host()
    if held > there:
        raise Mistake(
            f"the network has {numbers:,} parameters. With optimizer and gradient they need "
            f"{byte_size(held)}, but there are {byte_size(there)} of memory: give a smaller network"
        )


def paper_setup(experiment: Experiment, plan: Plan, devices: int | Sequence[jax.Device]) -> Setup:
    """Return a `Setup` without reading data, for a number of abstract devices or for real ones."""
    task, source = task_and_data(experiment)
    inputs, about = on_paper(source, plan.examples_per_epoch)
    learner = _learner(experiment, task.fitted(about), about, plan)
    if isinstance(devices, int):
        mesh = AbstractMesh((devices,), (AXIS,))
        return Setup(learner, inputs, mesh, "shard_map")  # type: ignore[arg-type]  # for `in_memory`
    most = updates_per_call(experiment.updates_per_call, learner, inputs, devices[0].platform)
    return Setup(learner, inputs, meshes.make_mesh(devices), "shard_map", most)


def counted(experiment: Experiment) -> Experiment:
    """Return the experiment with what its data says and its plan does not.

    These are the number of examples and, of a plan in tokens, the tokens of an example.
    """
    plan, data = experiment.plan, experiment.data
    if isinstance(data, Tokens) and plan.unit == "tokens" and plan.sequence_length is None:
        plan = replace(plan, sequence_length=data.sequence)
    if plan.num_examples is None and data is not None:
        plan = replace(plan, num_examples=num_examples(data))
    return experiment if plan is experiment.plan else replace(experiment, plan=plan)
