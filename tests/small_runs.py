"""Small runs for the tests: a few updates of a task, however split."""

import threading

import jax
import numpy as np

from jbatch.data.image.augment import Augment
from jbatch.data.resident import ResidentData
from jbatch.data.sources import Digits
from jbatch.devices import meshes
from jbatch.plan.layout import Layout, group_size
from jbatch.plan.passes import Accumulate, Apply, Update
from jbatch.step import aot, programs
from jbatch.step.programs import Setup, how, told
from jbatch.task.base import Learner
from jbatch.task.classify import Classify

DATASET = Digits().load()
DATA = ResidentData(DATASET)


def learner_of(model, optimizer, augment=Augment(pad=1), **options) -> Learner:  # noqa: B008
    task = Classify(model, augment=augment, **options).fitted(DATA.about)
    return Learner(task, DATA.about.example, optimizer, momentum=0.9)


def setup_of(learner, devices=1, mapping="shard_map", data=DATA) -> Setup:
    mesh = meshes.make_mesh(jax.devices()[:devices])
    return Setup(learner, data.inputs, mesh, mapping)


def run_updates(setup, *, batch_size, passes=1, updates=20, seed=3, learning_rate=0.05, data=DATA):
    """(state, losses) after `updates` updates of `batch_size`, each in `passes` passes."""
    group = group_size(batch_size, setup.task.group)
    layout = Layout(batch_size // passes, setup.devices, group)
    once = how(learning_rate, batch_size // group, batch_size)
    state = programs.initializer(setup)(np.uint32(seed))
    feed = data.feed(setup.mesh, seed)
    sums = programs.zero_sums(setup)() if passes > 1 else None
    count = data.inputs.num_examples
    per_epoch = count // batch_size
    losses = []
    for number in range(updates):
        epoch, nth = divmod(number, per_epoch)
        position = epoch * count + nth * batch_size
        if passes == 1:
            update = programs.compiled(setup, Update(layout))
            state, loss = update(state, told(setup, [once]), *feed.arguments(position, layout))
        else:
            accumulate = programs.compiled(setup, Accumulate(layout))
            apply = programs.compiled(setup, Apply())
            for part in range(passes):
                arguments = feed.arguments(position + part * layout.size, layout)
                sums, _ = accumulate(state, sums, np.int32(1), *arguments)
            state, sums, loss = apply(state, sums, once)
        losses.append(float(loss))
    return state, losses


def all_compiled() -> None:
    """Wait for what runs that have ended left behind: a compilation cannot be stopped."""
    for thread in threading.enumerate():
        if thread.name.startswith(aot.THREADS):
            thread.join()


def when_awaited(monkeypatch, batch_size) -> threading.Event:
    """An event that is set once a run waits for the program of a batch size."""
    ready, awaited = aot.Ahead.ready, threading.Event()

    def noted(self, asked, seconds=0.0):
        if asked == batch_size and seconds:
            awaited.set()
        return ready(self, asked, seconds)

    monkeypatch.setattr(aot.Ahead, "ready", noted)
    return awaited
