"""Train branches of a run from its checkpoints, by the run's own updates."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import jax
import numpy as np

from jbatch.devices import meshes
from jbatch.plan.branch import Window
from jbatch.plan.critical import Branch
from jbatch.plan.passes import Passes, cut
from jbatch.plan.plan import Plan
from jbatch.run.build import ENDLESS
from jbatch.run.job import Limits
from jbatch.run.log import noise_of
from jbatch.run.microbatch import chosen
from jbatch.run.newest import Opened
from jbatch.step import programs, pure
from jbatch.step.aot import Ahead
from jbatch.step.driver import Driver
from jbatch.step.programs import Setup
from jbatch.step.pure import State
from jbatch.task.base import SIMPLE


def trainer_of(run: Opened, plans: Sequence[Sequence[Plan]], seed: int) -> "Trainer":
    """Return the trainer of these branches, which measures their noise."""
    batch_sizes = {plan.at(0).batch_size for branches in plans for plan in branches}
    learner = run.setup.learner._replace(noise_of=run.plan.num_examples or ENDLESS)
    setup = replace(run.setup, learner=learner)
    limits = Limits(run.experiment.micro_batch, run.experiment.device_memory)
    limit = chosen(setup, sorted(batch_sizes), limits).limit
    passes = cut(batch_sizes, setup.devices, setup.task.group, limit)
    return Trainer(run, setup, passes, seed)


@dataclass(frozen=True)
class Trainer:
    """Trains branches with the run's own compiled updates."""

    run: Opened
    setup: Setup
    passes: Mapping[int, Passes]
    seed: int

    def train(self, start: State, plan: Plan, window: Window, multiple: int) -> Branch:
        """Train one branch from a state, which stays as it is."""
        setup, first = self.setup, plan.at(0)
        passes = {first.batch_size: self.passes[first.batch_size]}
        unmeasured = pure.no_noise(setup.learner, start.params, start.optimizer)
        copied = _on_host(start._replace(noise=unmeasured))  # an update donates its state
        state = jax.device_put(copied, programs.shardings(setup))
        losses, weights = [], []
        with (
            closing(Ahead(setup, passes, evaluated=())) as ahead,
            closing(self.run.data.feed(setup.mesh, self.seed, plan, passes, 0)) as feed,
        ):
            driver = Driver(setup, ahead, feed, cut=lambda _: True)  # a window has few updates
            for part in np.split(np.arange(plan.num_updates), window.parts):
                none = pure.no_totals(setup.learner)
                none = jax.device_put(none, meshes.replicated(setup.mesh))
                state = state._replace(totals=none)
                for update in part.tolist():
                    state = driver.update(state, [plan.at(update)])
                loss, weight = pure.exact(jax.device_get(state.totals))["loss"]
                losses.append(float(loss / weight))
                weights.append(float(weight))
        measured = noise_of(jax.device_get(state.noise), first.batch_size)
        return Branch(
            multiple=multiple,
            batch_size=first.batch_size,
            updates=plan.num_updates,
            learning_rate=first.learning_rate,
            losses=tuple(losses),
            weights=tuple(weights),
            noise_scale=measured.get(SIMPLE),
        )


def _on_host(state: State) -> State:
    copied: State = jax.tree.map(np.array, jax.device_get(state))
    return copied
