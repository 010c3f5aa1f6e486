"""An experiment's parts put together: what is trained, on what, and what all hosts must share."""

from collections.abc import Sequence

import jax
from jax.sharding import AbstractMesh

from jbatch.data.abstract import on_paper
from jbatch.data.inputs import Inputs
from jbatch.data.open import load
from jbatch.devices import meshes
from jbatch.devices.memory import available, of_host, readable
from jbatch.devices.sound import check_sound
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.plan.layout import AXIS
from jbatch.plan.plan import Plan
from jbatch.step import pure
from jbatch.step.calls import updates_per_call
from jbatch.step.programs import Setup
from jbatch.task import classify
from jbatch.task.classify import Task


def make_setup(experiment: Experiment, plan: Plan, devices: Sequence[jax.Device]):
    """All that decides the compiled functions, and the data; Mistake if they do not fit."""
    check_sound()
    missing = [name for name in ("model", "data") if getattr(experiment, name) is None]
    if missing:
        raise Mistake(
            f"this experiment has no {' and no '.join(missing)} yet: it can be planned (jbatch "
            "plan), not trained; give Experiment(model=…, data=…) in its file"
        )
    if experiment.mapping == "pmap" and jax.process_count() > 1:
        raise Mistake(  # JAX cannot compile it ahead there
            f"mapping is pmap, which is for one process, and here are {jax.process_count()}: give "
            "--mapping shard_map"
        )
    data = load(experiment.data, experiment.augment, experiment.normalize)
    channels = data.inputs.input_shape[-1]
    if experiment.augment.color and channels != 3:
        raise Mistake(
            f"augment.color is {experiment.augment.color:g}, and images have {channels} "
            f"{'channel' if channels == 1 else 'channels'}: it is for red, green and blue; set it "
            "to 0"
        )
    count = data.inputs.num_examples
    if count != plan.num_examples:
        raise Mistake(
            f"the training set has {count:,} examples and the plan is for {plan.num_examples:,}: "
            f"set plan.num_examples to {count}"
        )
    task = _task(experiment, plan, data.inputs, data.num_classes)
    classify.graph(task)  # for images too small for the network, or a norm that does not fit it
    _check_room(task, devices)
    setup = Setup(
        task=task,
        inputs=data.inputs,
        mesh=meshes.make_mesh(devices),
        mapping=experiment.mapping,
        updates_per_call=updates_per_call(
            experiment.updates_per_call, task, data.inputs, devices[0].platform
        ),
    )
    return setup, data


def _check_room(task: Task, devices: Sequence[jax.Device]) -> None:
    """See that a device, or the host of several simulated ones, can hold what is trained."""
    shapes = pure.state_shapes(task)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(shapes.params))
    # The gradient is as large as the parameters.
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((shapes, shapes.params))]
    local = [device for device in devices if device.process_index == jax.process_index()]
    held, there = sum(sizes), available(local[0])
    if there is None:
        held, there = held * len(local), of_host()
    if held > there:
        raise Mistake(
            f"the network has {numbers:,} parameters: with optimizer and gradient they take "
            f"{readable(held)}, and there are {readable(there)} of memory: give a smaller one"
        )


def paper_setup(experiment: Experiment, plan: Plan, devices: int | Sequence[jax.Device]) -> Setup:
    """What would be compiled, without data: for so many devices of any kind, or for these."""
    if experiment.model is None or experiment.data is None:
        raise Mistake("this experiment has no model or no data yet: give both in its file")
    inputs, classes = on_paper(
        experiment.data, experiment.augment, experiment.normalize, plan.num_examples
    )
    task = _task(experiment, plan, inputs, classes)
    if isinstance(devices, int):
        return Setup(task, inputs, AbstractMesh((devices,), (AXIS,)), "shard_map")
    most = updates_per_call(experiment.updates_per_call, task, inputs, devices[0].platform)
    return Setup(task, inputs, meshes.make_mesh(devices), "shard_map", most)


def _task(experiment: Experiment, plan: Plan, inputs: Inputs, num_classes: int) -> Task:
    return Task(
        model=experiment.model,
        optimizer=experiment.optimizer,
        momentum=plan.momentum,
        label_smoothing=experiment.label_smoothing,
        dtype=experiment.dtype,
        input_shape=inputs.input_shape,
        num_classes=num_classes,
    )
