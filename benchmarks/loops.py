"""Make the trainer's own loop and plain ones, over the same compiled functions."""

import dataclasses
import time
from collections.abc import Callable
from functools import cached_property
from itertools import cycle

import jax
import numpy as np

from benchmarks.turns import Loop
from jbatch.data.batch import Batch
from jbatch.data.image.augment import Augment
from jbatch.devices import meshes, spmd
from jbatch.estimate.hlo_costs import facts_of
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Apply
from jbatch.run.loop import run_until
from jbatch.run.run import Run
from jbatch.step import flops, held, programs, pure
from jbatch.step.driver import InFlight
from jbatch.step.programs import how, told

MOST_READY = 1024  # examples of a prepared batch, at most


class Loops:
    """Make loops of a run at one batch size; each takes n updates and waits for them."""

    def __init__(self, run: Run):
        self._run, self._size = run, run.plan.at(0).batch_size
        self._program = run.ahead.program(self._size)
        # The same with one update, or pass, per call.
        self._setup = dataclasses.replace(run.job.setup, updates_per_call=1)
        self._passes = self._program.passes.calls
        self.layouts = self._program.passes.layouts
        self._how = how(1e-3, self._size // self.layouts[0].group, self._size)

    def trainer(self, count: int) -> None:
        """Run jbatch's loop: look-up, order of each epoch, logging, checkpoints, signals."""
        run_until(self._run, self._run.update + count)
        jax.block_until_ready(self._run.state)

    @cached_property
    def bare(self) -> Loop:
        """Run the same compiled functions in a plain loop, a call for each update or pass."""
        feed, calls = self._run.feed, self._calls()
        starts = range(0, self._run.plan.num_examples - self._size + 1, self._size)
        updates = cycle([self._arguments(feed, start) for start in starts[:256]])
        state, sums = self._state(), programs.zero_sums(self._setup)()
        if self._program.apply is None:
            [update] = calls
            once, in_flight = told(self._setup, [self._how]), InFlight(feed.most_in_flight)

            def loop(count: int) -> None:
                nonlocal state
                for _ in range(count):
                    [arguments] = next(updates)
                    state, loss = update(state, once, *arguments)
                    in_flight.add(loss)
                jax.block_until_ready(state)

            return loop
        *accumulates, apply = calls
        in_flight = InFlight(feed.most_in_flight)

        def loop(count: int) -> None:
            nonlocal state, sums
            for _ in range(count):
                for accumulate, arguments in zip(accumulates, next(updates), strict=True):
                    sums, gathered = accumulate(state, sums, np.int32(1), *arguments)
                    in_flight.add(gathered)
                state, sums, loss = apply(state, sums, self._how)
                in_flight.add(loss)
            jax.block_until_ready(state)

        return loop

    @property
    def prebuilt(self) -> Loop | None:
        """Run the update on prepared float batches; None if they do not fit in memory."""
        if self._program.apply or self._size > MOST_READY:
            return None
        [layout] = self.layouts
        batches = self._ready_batches(layout)
        update, state = self._on_ready(layout, batches[0]), self._state()
        batches, in_flight = cycle(batches), InFlight(self._run.feed.most_in_flight)

        def loop(count: int) -> None:
            nonlocal state
            for _ in range(count):
                state, loss = update(state, next(batches), self._how)
                in_flight.add(loss)
            jax.block_until_ready(state)

        return loop

    def costs(self) -> dict[str, float]:
        """Return an update's costs on one device: FLOPs, bytes of memory, all-reduces, their bytes,
        and seconds to compile it without a cache.
        """
        begun = time.perf_counter()
        for call in {*self._passes, *self._end()}:
            programs.lowered(self._run.job.setup, call).compile()
        seconds = time.perf_counter() - begun
        calls = self._calls()
        facts = [facts_of(call.compiled) for call in calls]
        beside = held.beside(self._setup, self._passes[0])
        return {
            "flops": sum(flops.of_pass(self._setup.learner, each) for each in self.layouts),
            "memory": max(call.memory.total for call in calls) + beside,
            "reductions": sum(each.reductions for each in facts),
            "reduced": sum(each.reduced for each in facts),
            "compile_seconds": seconds,
        }

    def _calls(self) -> list[spmd.Executable]:
        return [programs.compiled(self._setup, call) for call in (*self._passes, *self._end())]

    def _end(self) -> list[Apply]:
        return [Apply()] if self._program.apply else []

    def _arguments(self, feed, start: int) -> list[tuple]:
        """Return the arguments of each pass of an update."""
        found = []
        for layout in self.layouts:
            found.append(feed.arguments(start, layout))
            start += layout.size
        return found

    def _state(self):
        return programs.initializer(self._setup)(np.uint32(0))

    def _on_ready(self, layout: Layout, batch: Batch) -> Callable:
        """Map (state, batch of each device, how) → (state, loss)."""
        learner = self._setup.learner
        task = learner.task  # without what it does with images before the network sees them
        none = dataclasses.replace(task.task, augment=Augment(), normalize="none")
        channels = task.input_shape[-1]
        task = dataclasses.replace(
            task, task=none, shift=(0.0,) * channels, factor=(1.0,) * channels
        )
        learner = learner._replace(task=task)

        def update(state, batch, how):
            return pure.apply(learner, state, pure.gather(learner, layout, state, batch), *how)

        return spmd.Mapped(
            update,
            self._setup.mesh,
            self._setup.mapping,
            (pure.state_shapes(learner), batch, self._how),
            per_device=(False, True, False),
            per_device_out=(False, False),
            donate=(0,),
        ).compile()

    def _ready_batches(self, layout: Layout) -> list[Batch]:
        """Make four batches, split over the devices."""
        shape = (layout.devices, layout.per_device)
        task = self._setup.task
        batches = [
            Batch(
                {
                    "image": jax.random.normal(key, (*shape, *task.input_shape)),
                    "label": jax.random.randint(key, shape, 0, task.num_classes),
                },
                jax.random.split(key, shape),
            )
            for key in jax.random.split(jax.random.key(0), 4)
        ]
        return jax.device_put(batches, meshes.split(self._setup.mesh))
