"""Build a run's setup (task, data, devices) from its experiment, and check that the parts fit."""

from collections.abc import Sequence

import jax
from jax.sharding import AbstractMesh

from jbatch.data.abstract import on_paper
from jbatch.data.inputs import Inputs, Loaded
from jbatch.data.open import load
from jbatch.data.sources import Data
from jbatch.devices import meshes
from jbatch.devices.memory import available, of_host
from jbatch.devices.sound import check_sound
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.models.specs import Model
from jbatch.plan.layout import AXIS
from jbatch.plan.plan import Plan
from jbatch.step import pure
from jbatch.step.calls import updates_per_call
from jbatch.step.programs import Setup
from jbatch.task import classify
from jbatch.task.base import Learner
from jbatch.task.classify import Classify
from jbatch.text import byte_size, counted


def make_setup(
    experiment: Experiment, plan: Plan, devices: Sequence[jax.Device]
) -> tuple[Setup, Loaded]:
    """Return the `Setup` of the compiled functions, and the data; raise Mistake on a mismatch."""
    model, source = _model_and_data(experiment)
    check_sound()
    if experiment.mapping == "pmap" and jax.process_count() > 1:
        raise Mistake(  # JAX cannot compile pmap ahead for several processes
            f"mapping is pmap, which works with one process, but there are {jax.process_count()}: "
            "give --mapping shard_map"
        )
    data = load(source, experiment.augment, experiment.normalize)
    channels = data.inputs.input_shape[-1]
    if experiment.augment.color and channels != 3:
        raise Mistake(
            f"augment.color is {experiment.augment.color:g}, but it needs red, green and blue, and "
            f"the images have {counted(channels, 'channel')}: set it to 0"
        )
    count = data.inputs.num_examples
    if count != plan.num_examples:
        raise Mistake(
            f"the training set has {count:,} examples, but the plan is for {plan.num_examples:,}: "
            f"set plan.num_examples to {count}"
        )
    task = _task(experiment, model, data.inputs, data.num_classes)
    learner = Learner(task, experiment.optimizer, plan.momentum)
    classify.graph(task)  # refuses images too small for the network, and norms that do not fit it
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
    model, source = _model_and_data(experiment)
    inputs, classes = on_paper(source, experiment.augment, experiment.normalize, plan.num_examples)
    task = _task(experiment, model, inputs, classes)
    learner = Learner(task, experiment.optimizer, plan.momentum)
    if isinstance(devices, int):
        mesh = AbstractMesh((devices,), (AXIS,))
        return Setup(learner, inputs, mesh, "shard_map")  # type: ignore[arg-type]  # for `in_memory`
    most = updates_per_call(experiment.updates_per_call, learner, inputs, devices[0].platform)
    return Setup(learner, inputs, meshes.make_mesh(devices), "shard_map", most)


def _model_and_data(experiment: Experiment) -> tuple[Model, Data]:
    if experiment.model is None or experiment.data is None:
        raise Mistake("this experiment has no model or no data yet: give both in its file")
    return experiment.model, experiment.data


def _task(experiment: Experiment, model: Model, inputs: Inputs, num_classes: int) -> Classify:
    return Classify(
        model=model,
        label_smoothing=experiment.label_smoothing,
        dtype=experiment.dtype,
        input_shape=inputs.input_shape,
        num_classes=num_classes,
    )
