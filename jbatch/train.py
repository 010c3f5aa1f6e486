"""Training a run, from its plan to its last checkpoint."""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jbatch import compile, parallel, step
from jbatch.ahead import Ahead
from jbatch.checkpoint import Checkpoints, parameters_digest
from jbatch.compile import Setup
from jbatch.data.inputs import Evaluated, Feed
from jbatch.data.load import load
from jbatch.drive import Driver
from jbatch.errors import Mistake
from jbatch.evaluate import Evaluation, evaluate
from jbatch.experiment import Experiment
from jbatch.metrics import MetricsLog
from jbatch.micro_batch import cut
from jbatch.models import ghost_batch
from jbatch.plan import Plan
from jbatch.progress import Bar, Lines
from jbatch.run_directory import Origin, claim, other_environment
from jbatch.step import State, Task, no_totals
from jbatch.stop import Interrupted, StopRequest, stop_on_signals


class Diverged(Mistake):
    """The loss is not a number any more, or infinite."""


@dataclasses.dataclass
class Run:
    """A run under way: what does not change, and where it stands."""

    plan: Plan
    setup: Setup
    driver: Driver
    ahead: Ahead
    feed: Feed
    test: Evaluated
    metrics: MetricsLog
    checkpoints: Checkpoints
    progress: Lines | Bar
    stop: StopRequest
    evaluations: frozenset[int]  # after how many updates
    saves: frozenset[int]
    logs: frozenset[int]
    begun: float  # time.perf_counter

    state: State
    update: int  # updates taken
    evaluated: int | None  # at which update, last
    saved: int | None
    logged: int
    waited: float = 0.0  # of `feed.waited`, at the last log point
    damaged: int = 0  # of `feed.damaged`, by then
    named: set[str] = dataclasses.field(default_factory=set)  # files that a person was told of
    clock: float = 0.0  # seconds of training since the last log point …
    resumed: float = 0.0  # … up to this time.perf_counter, since when it goes on
    spent: dict[str, float] = dataclasses.field(default_factory=dict)  # seconds, beside training


def fit(
    experiment: Experiment,
    directory: Path,
    *,
    origin: Origin | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Lines | Bar | None = None,
    label: str = "train",
) -> Run:
    """Train to the end of the plan, from the newest checkpoint in `directory` if there is one.

    Args:
        experiment: what to train.
        directory: the run's own; made if it does not exist.
        origin: where the experiment was read from, kept for `eval` and `report`.
        devices: to train on; None for all of JAX's.
        progress: what a person sees meanwhile.
        label: the run's name in it.

    Returns:
        The finished run.

    Raises:
        Mistake: for what cannot be trained, before anything is written.
        Diverged: when the loss is not finite; the last checkpoint is from before.
        Interrupted: on SIGTERM or Ctrl-C, after saving.
    """
    with open_run(
        experiment, directory, origin=origin, devices=devices, progress=progress, label=label
    ) as run:
        run_until(run, run.plan.num_updates)
    return run


def run_until(run: Run, last: int) -> None:
    """Train until `last` updates are taken.

    Each turn does, in this order: evaluate, save, next, update, log.
    """
    run.resumed = time.perf_counter()
    phase = None
    while True:
        update, asked_to_stop = run.update, run.stop.signal
        # 1. Evaluate.
        if update in run.evaluations and run.evaluated != update:
            _evaluate(run)
        # 2. Save.
        if (update in run.saves or asked_to_stop) and run.saved != update:
            _save(run)
        if asked_to_stop:
            run.checkpoints.wait()
            raise Interrupted(
                f"{asked_to_stop.name} at update {update:,} of {run.plan.num_updates:,}: saved; "
                "the same command goes on from here"
            )
        # 3. Next.
        if update >= last:
            jax.block_until_ready(run.state)
            run.clock += time.perf_counter() - run.resumed
            return
        row = run.plan.at(update)
        if phase is None:  # what a feed needs to begin is no part of training
            with _paused(run, "first input"):
                run.feed.wait()
        if row.phase != phase:
            phase = row.phase
            if not run.ahead.ready(row.batch_size):
                with _paused(run, "compilation"):
                    run.ahead.program(row.batch_size)
        # 4. Update. Nothing of it may come back to the host unasked.
        with jax.transfer_guard_device_to_host("disallow"):
            run.state = run.driver.update(run.state, row)
        run.update = update + 1
        run.progress.advance(update)
        # 5. Log.
        if run.update in run.logs:
            _log(run)


@contextmanager
def open_run(
    experiment: Experiment,
    directory: Path,
    *,
    origin: Origin | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Lines | Bar | None = None,
    label: str = "train",
) -> Iterator[Run]:
    """A run ready to go on from where it stands; see `fit`."""
    begun = time.perf_counter()
    devices = jax.devices() if devices is None else devices
    plan = experiment.plan.plan()
    setup, data = make_setup(experiment, plan, devices)
    plan.check(len(devices), ghost_batch(experiment.model))
    passes = cut(
        [phase.batch_size for phase in plan.phases],
        len(devices),
        ghost_batch(experiment.model),
        experiment.micro_batch,
    )
    claim(directory, experiment, plan, origin)

    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())  # until all below is closed
        ahead = stack.enter_context(closing(Ahead(setup, passes)))
        checkpoints = stack.enter_context(closing(Checkpoints(directory / "checkpoints")))
        update, state = restored(checkpoints, setup, experiment.seed)
        metrics = stack.enter_context(closing(MetricsLog(directory, checkpoints.latest)))
        progress = Lines(math.inf) if progress is None else progress
        progress.begin(label, plan, update)
        stack.callback(progress.end)
        for warning in (*plan.warnings, *other_environment(directory)):
            progress.say(f"warning: {warning}")
        feed = data.feed(setup.mesh, experiment.seed, plan, passes, update)
        stack.callback(feed.close)
        test = data.test(setup.mesh, setup.evaluation_size)
        stack.callback(test.close)
        yield Run(
            plan=plan,
            setup=setup,
            driver=Driver(setup, ahead, feed),
            ahead=ahead,
            feed=feed,
            test=test,
            metrics=metrics,
            checkpoints=checkpoints,
            progress=progress,
            stop=stop,
            evaluations=plan.crossings(experiment.eval_every) | {0},
            saves=plan.crossings(experiment.save_every)
            | {phase.first_update for phase in plan.phases[1:]},
            logs=plan.crossings(experiment.log_every),
            begun=begun - metrics.seconds_before,
            state=state,
            update=update,
            evaluated=metrics.evaluated,
            saved=update or None,
            logged=update,
        )


def make_setup(experiment: Experiment, plan: Plan, devices: Sequence[jax.Device]):
    """All that decides the compiled functions, and the data; Mistake if they do not fit."""
    missing = [name for name in ("model", "data") if getattr(experiment, name) is None]
    if missing:
        raise Mistake(
            f"this experiment has no {' and no '.join(missing)} yet: it can be planned (jbatch "
            "plan), not trained; give Experiment(model=…, data=…) in its file"
        )
    data = load(experiment.data, experiment.augment, experiment.normalize)
    count = data.inputs.num_examples
    if count != plan.num_examples:
        raise Mistake(
            f"the training set has {count:,} examples and the plan is for {plan.num_examples:,}: "
            f"set plan.num_examples to {count}"
        )
    # Made once here, for what is wrong with it to be found before anything is written.
    experiment.optimizer.transformation(0.0, plan.momentum)
    task = Task(
        model=experiment.model,
        optimizer=experiment.optimizer,
        momentum=plan.momentum,
        label_smoothing=experiment.label_smoothing,
        dtype=experiment.dtype,
        input_shape=data.inputs.input_shape,
        num_classes=data.num_classes,
    )
    step.graph(task)  # for images too small for the network, or a norm that does not fit it
    setup = Setup(
        task=task,
        inputs=data.inputs,
        mesh=parallel.make_mesh(devices),
        mapping=experiment.mapping,
    )
    return setup, data


def restored(checkpoints: Checkpoints, setup: Setup, seed: int) -> tuple[int, State]:
    """(updates taken, state) of the newest checkpoint, or of the start."""
    state = compile.initializer(setup)(np.uint32(seed))
    update = checkpoints.latest
    return (0, state) if update is None else (update, checkpoints.restore(update, state))


def _evaluate(run: Run) -> None:
    with _paused(run, "compilation"):
        compiled = run.ahead.evaluate()
    with _paused(run, "evaluation"):
        known = len(run.test.damaged)
        found = evaluate(compiled, run.state, run.test)
    _name_damaged(run, run.test.damaged[known:], "left out")
    _refuse_diverged(run, found.loss)
    run.metrics.write({"kind": "eval", **_standing(run), **found._asdict()})
    run.evaluated = run.update


def _save(run: Run) -> None:
    with _paused(run, "saving"):
        # What is not finite must never become the last good checkpoint.
        if not jax.device_get(_all_finite(run.state)):
            _refuse_diverged(run, math.nan)
        run.checkpoints.save(run.update, run.state)
    run.saved = run.update


def _log(run: Run) -> None:
    with _paused(run, "logging"):
        totals = jax.device_get(run.state.totals)
        _refuse_diverged(run, totals.loss)
        zero = jax.device_put(no_totals(), parallel.replicated(run.setup.mesh))
        run.state = run.state._replace(totals=zero)
        since = run.plan.batch_sizes[run.logged : run.update]  # all of them timed by the clock
        line = {
            "kind": "train",
            **_standing(run),
            "loss": float(totals.loss / totals.examples),
            "accuracy": float(totals.correct / totals.examples),
            "updates_per_second": len(since) / run.clock,
            "examples_per_second": float(since.sum()) / run.clock,
            "input_wait": (run.feed.waited - run.waited) / run.clock,
            "damaged": len(run.feed.damaged) - run.damaged,
        }
        _name_damaged(run, run.feed.damaged[run.damaged :], "replaced")
        run.waited, run.damaged = run.feed.waited, len(run.feed.damaged)
        run.metrics.write(line)
        run.progress.logged(line)
        run.logged, run.clock = run.update, 0.0


def _name_damaged(run: Run, names: Sequence[str], what: str) -> None:
    """Name each damaged file to the person, once."""
    for name in dict.fromkeys(names):
        if name not in run.named:
            run.progress.say(f"warning: {name} does not decode and is {what}")
            run.named.add(name)


def _standing(run: Run) -> dict:
    """Where the run stands: position, and the row of the update that it took last."""
    examples = run.plan.position(run.update)
    row = run.plan.at(max(run.update - 1, 0))
    return {
        "update": run.update,
        "examples": examples,
        "epoch": examples / run.plan.num_examples,
        "seconds": time.perf_counter() - run.begun,
        "phase": row.phase,
        "batch_size": row.batch_size,
        "learning_rate": row.learning_rate,
        "noise_scale": run.plan.noise_scale(row.update),
    }


@contextmanager
def _paused(run: Run, what: str) -> Iterator[None]:
    """Stop the clock of training, when the updates under way are done, and account for the time."""
    jax.block_until_ready(run.state)
    start = time.perf_counter()
    run.clock += start - run.resumed
    try:
        yield
    finally:
        run.resumed = time.perf_counter()
        run.spent[what] = run.spent.get(what, 0.0) + run.resumed - start


@jax.jit
def _all_finite(state: State) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _refuse_diverged(run: Run, loss: float) -> None:
    if math.isfinite(loss):
        return
    row = run.plan.at(max(run.update - 1, 0))
    good = run.checkpoints.latest
    kept = "no checkpoint was saved before" if good is None else f"update {good:,} is kept"
    raise Diverged(
        f"the loss is not finite between updates {run.logged:,} and {run.update:,} (epoch "
        f"{row.epoch:.2f}, batch {row.batch_size:,}, rate {row.learning_rate:g}): {kept}; lower "
        "the rate, or warm it up"
    )


def evaluate_newest(experiment: Experiment, directory: Path) -> tuple[int, Evaluation, str]:
    """(updates taken, evaluation, digest of the parameters) of a run's newest checkpoint."""
    if not (directory / "checkpoints").is_dir():
        raise Mistake(f"{directory} has no checkpoint yet: train it first")
    with closing(Checkpoints(directory / "checkpoints", read_only=True)) as checkpoints:
        if checkpoints.latest is None:
            raise Mistake(f"{directory} has no checkpoint yet: train it first")
        setup, data = make_setup(experiment, experiment.plan.plan(), jax.devices())
        update, state = restored(checkpoints, setup, experiment.seed)
    with closing(data.test(setup.mesh, setup.evaluation_size)) as test:
        found = evaluate(compile.evaluate(setup), state, test)
    return update, found, parameters_digest(state.params)
