"""The measured gradient noise scale: unbiased for any cut, and no part of the training."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbatch.composed import Group, Groups
from jbatch.data.batch import Batch, spec_of
from jbatch.estimate.hlo_costs import facts_of
from jbatch.models import MLP, GhostBatchNorm
from jbatch.optim import SGD, Adam
from jbatch.plan.layout import AXIS, Layout
from jbatch.plan.passes import Accumulate, Apply, Halves, Update, cut
from jbatch.step import programs, pure
from jbatch.step.driver import BETWEEN, measures
from jbatch.task.base import Learner, Scores, Task
from marks import slow
from small_runs import DATA as DIGITS
from small_runs import learner_of, run_updates, setup_of

N, INPUTS = 96, 6


@dataclass(frozen=True)
class Regression(Task):
    """y = wᵀx + noise; the gradient of an example at w = 0 is −y·x."""

    def init(self, key, example):
        del key
        return {"w": jnp.zeros(example["x"].shape)}, {}

    def score(self, params, state, example, key):
        del key
        return Scores((example["x"] @ params["w"] - example["y"]) ** 2 / 2), state


def dataset():
    """Examples whose mean gradient is about as long as a batch of 20 makes its noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, INPUTS)).astype(np.float32)
    y = 0.3 * x[:, 0] + rng.normal(size=N).astype(np.float32)
    return {"x": x, "y": y.astype(np.float32)}


DATA = dataset()
GRADIENTS = (-DATA["y"][:, None] * DATA["x"]).astype(np.float64)  # (N, INPUTS)
SQUARED = (GRADIENTS.mean(0) ** 2).sum()  # |G|²
TRACE = GRADIENTS.var(0, ddof=1).sum()  # trΣ, of the (N − 1)-covariance
LEARNER = Learner(Regression(), spec_of(DATA), SGD(), 0.0, noise_of=N)


def estimates(parts, devices, draws):
    """(|G|², trΣ) of the first update, (draws,) each: devices are an axis that vmap maps."""
    total, state = sum(parts) * devices, pure.init(LEARNER, jnp.uint32(0))

    def one_device(ids):  # (Σ parts,)
        sums, begin = pure.no_sums(LEARNER, state), 0
        for size in parts:
            here = ids[begin : begin + size]
            begin += size
            examples = jax.tree.map(lambda leaf, here=here: jnp.asarray(leaf)[here], DATA)
            keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), size)
            layout = Layout(size * devices, devices, 1)
            sums = pure.accumulate(LEARNER, layout, state, sums, Batch(examples, keys))
        after, _ = pure.apply(
            LEARNER, state, sums, jnp.float32(0), jnp.float32(total), jnp.float32(total)
        )
        return after.noise.squared[0], after.noise.trace[0]

    rng = np.random.default_rng(1)
    ids = np.stack([rng.permutation(N)[:total] for _ in range(draws)])
    mapped = jax.vmap(jax.vmap(one_device, axis_name=AXIS))
    squared, trace = jax.jit(mapped)(ids.reshape(draws, devices, sum(parts)))
    return np.asarray(squared)[:, 0].astype(float), np.asarray(trace)[:, 0].astype(float)


@pytest.mark.parametrize(
    ("parts", "devices"),
    [((2, 2), 1), ((7, 1), 1), ((5, 3, 2), 3), ((2, 2), 8), ((5, 3, 2), 8)],
    ids=str,
)
def test_the_estimates_are_unbiased_for_any_cut(parts, devices):
    """Of so many examples in each pass on each device, drawn without replacement: 4 to 80 of 96."""
    squared, trace = estimates(parts, devices, 3000)
    for found, truth in ((squared, SQUARED), (trace, TRACE)):
        error = found.std() / np.sqrt(len(found))
        # Two standard errors are missed once in twenty, and these are ten figures: so three.
        assert abs(found.mean() - truth) < 3 * error, (found.mean() / truth, error / truth)
    assert abs(trace.mean() / TRACE - 1) < 0.03


def test_the_ratio_of_the_averages_is_the_noise_scale():
    """Within its standard errors, by the delta method; three, because there are three figures."""
    for parts, devices in [((2, 2), 1), ((7, 1), 2), ((5, 3, 2), 4)]:
        squared, trace = estimates(parts, devices, 30_000)
        ratio = trace.mean() / squared.mean() / (TRACE / SQUARED)
        spread = trace / trace.mean() - squared / squared.mean()
        error = spread.std() / np.sqrt(len(spread))
        assert abs(ratio - 1) < 3 * error, (parts, devices, ratio, error)
        assert error < 0.06


def test_the_whole_set_gives_the_gradient_itself():
    for parts, devices in [((48, 48), 1), ((60, 30, 6), 1), ((7, 5), 8)]:
        squared, trace = estimates(parts, devices, 2)
        # Sums of 96 terms in float32, in two orders: √96 · 2⁻²⁴.
        np.testing.assert_allclose(squared, SQUARED, rtol=1e-6)
        assert trace.min() > 0


def test_one_part_measures_nothing():
    squared, trace = estimates((10,), 1, 2)
    assert not squared.any()
    assert not trace.any()


def test_averages_forget_and_are_unbiased():
    """The average after k updates of the same parts is their estimate, whatever k is."""
    state = pure.init(LEARNER, jnp.uint32(0))
    examples = jax.tree.map(jnp.asarray, DATA)
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), N)

    def update(_, state):
        sums = pure.no_sums(LEARNER, state)
        for begin, end in ((0, 40), (40, 96)):
            batch = jax.tree.map(lambda leaf, b=begin, e=end: leaf[b:e], Batch(examples, keys))
            layout = Layout(end - begin, 1, 1)
            sums = pure.accumulate(LEARNER, layout, state, sums, batch)
        return pure.apply(LEARNER, state, sums, *map(jnp.float32, (0, N, N)))[0]

    mapped = jax.jit(
        jax.vmap(lambda _: jax.lax.fori_loop(0, 30, update, state), axis_name=AXIS, axis_size=1)
    )
    after = mapped(jnp.zeros(1))
    np.testing.assert_allclose(after.noise.squared[0, 0], SQUARED, rtol=1e-5)
    np.testing.assert_allclose(after.noise.weight[0], 1 - np.exp(-0.3), rtol=1e-5)


PLAIN = learner_of(MLP((32,)), SGD(weight_decay=5e-4))
NETWORK = learner_of(MLP((32,), GhostBatchNorm(8)), Adam())


def measuring(learner):
    return learner._replace(noise_of=1500)


@pytest.mark.parametrize(
    ("learner", "size", "devices", "passes"),
    [
        (PLAIN, 48, 8, 3),
        slow(PLAIN, 48, 2, 1),
        slow(NETWORK, 192, 1, 3),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_measuring_changes_no_bit_of_the_training(learner, size, devices, passes):
    given = {"batch_size": size, "passes": passes, "updates": 12, "learning_rate": 1e-3}
    state, losses = run_updates(setup_of(learner, devices), **given)
    watched, same = run_updates(setup_of(measuring(learner), devices), **given)
    assert losses == same
    for one, other in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(watched.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert state.noise is None
    assert watched.noise.trace.shape == ((1,) if learner is PLAIN else (2,))
    assert (watched.noise.trace > 0).all()
    assert watched.noise.weight == pytest.approx(1 - np.exp(-0.12), rel=1e-5)


@pytest.mark.slow
def test_groups_that_span_devices_are_not_measured():
    watched, _ = run_updates(setup_of(measuring(NETWORK), 8), batch_size=32, updates=2)
    assert Layout(32, 8, 8).span == 2
    assert watched.noise.weight == 0
    assert not watched.noise.trace.any()


@pytest.mark.parametrize("passes", [1, 3])
def test_still_one_all_reduce_per_update(passes):
    setup = setup_of(measuring(PLAIN), 8)
    layout = Layout(48 // passes, 8, 1)
    calls = [Update(layout)] if passes == 1 else [Accumulate(layout), Apply()]
    reductions = [facts_of(programs.compiled(setup, call).compiled).reductions for call in calls]
    assert reductions == ([1] if passes == 1 else [0, 1])


def test_an_update_of_one_pass_is_cut_in_two_whole_parts():
    [passes] = cut([40], 1, 8, None).values()
    assert [layout.size for layout in passes.halves.layouts] == [16, 24]
    [passes] = cut([40], 8, None, None).values()
    assert passes.halves is None  # the devices are parts
    [passes] = cut([40], 1, 40, None).values()
    assert passes.halves is None  # one group
    assert not passes.measurable
    [passes] = cut([40], 1, None, 20).values()
    assert passes.halves is None  # the passes are parts
    assert [update for update in range(40) if measures(update)] == [0, BETWEEN, 2 * BETWEEN]


@pytest.mark.slow
def test_two_halves_are_the_update():
    setup = setup_of(measuring(PLAIN))
    layout = Layout(48, 1, 1)
    feed, once = DIGITS.feed(setup.mesh, 3), programs.told(setup, [programs.how(0.1, 48, 48)])
    states = []
    for call in (Update(layout), Halves(layout)):
        state = programs.initializer(setup)(np.uint32(3))
        state, _ = programs.compiled(setup, call)(state, once, *feed.arguments(0, layout))
        states.append(state)
    feed.close()
    whole, halves = states
    for one, other in zip(
        jax.tree.leaves(whole.params), jax.tree.leaves(halves.params), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)  # sums in another order
    assert whole.noise.weight == 0
    assert halves.noise.weight > 0


def test_adams_metric_divides_by_its_second_moments():
    """Against the definition, with moments of a run; from update 10 on."""
    learner = LEARNER._replace(optimizer=Adam())
    state = pure.init(learner, jnp.uint32(0))
    moments = jnp.arange(1, INPUTS + 1, dtype=jnp.float32) / 10
    adam = state.optimizer[0]._replace(nu={"w": moments})
    assert isinstance(adam, optax.ScaleByAdamState)
    state = state._replace(optimizer=(adam, *state.optimizer[1:]))
    examples = jax.tree.map(jnp.asarray, DATA)
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), N)

    def update(state):
        sums = pure.no_sums(learner, state)
        for begin, end in ((0, 40), (40, 96)):
            batch = jax.tree.map(lambda leaf, b=begin, e=end: leaf[b:e], Batch(examples, keys))
            sums = pure.accumulate(learner, Layout(end - begin, 1, 1), state, sums, batch)
        return pure.apply(learner, state, sums, *map(jnp.float32, (0, N, N)))[0].noise

    on_one = jax.vmap(lambda _, state: update(state), axis_name=AXIS, in_axes=(0, None))
    mapped = jax.jit(on_one)
    early, late = (
        mapped(jnp.zeros(1), state._replace(taken=jnp.int32(taken))) for taken in (9, 10)
    )
    silent = adam._replace(nu={"w": moments.at[0].set(2e-38)})  # its next gradient overflows
    over = state._replace(taken=jnp.int32(10), optimizer=(silent, *state.optimizer[1:]))
    found = mapped(jnp.zeros(1), over)
    assert found.trace[0, 1] == 0 == found.squared[0, 1]
    assert found.trace[0, 0] == late.trace[0, 0]
    parts = [GRADIENTS[:40].mean(0), GRADIENTS[40:].mean(0)]
    scaled = 40 * parts[0] ** 2 + 56 * parts[1] ** 2 - N * GRADIENTS.mean(0) ** 2
    np.testing.assert_allclose(late.trace[0], [scaled.sum(), (scaled / moments).sum()], rtol=1e-5)
    assert early.trace[0, 1] == 0 == early.squared[0, 1]
    np.testing.assert_allclose(
        late.squared[0, 1], (GRADIENTS.mean(0) ** 2 / moments).sum(), rtol=1e-5
    )


@pytest.mark.slow
def test_frozen_parameters_have_no_part():
    learner = measuring(PLAIN)._replace(frozen=("head",))
    setup = setup_of(learner, 2)
    state, _ = run_updates(setup, batch_size=48, updates=1)
    everything, _ = run_updates(setup_of(measuring(PLAIN), 2), batch_size=48, updates=1)
    assert 0 < state.noise.trace < everything.noise.trace
    grouped = learner._replace(frozen=(), optimizer=Groups((Group(("head",)), Group(None, SGD()))))
    found, _ = run_updates(setup_of(grouped, 2), batch_size=48, updates=1)
    np.testing.assert_allclose(found.noise.trace, state.noise.trace, rtol=1e-6)


def test_groups_that_stay_leave_adams_metric_to_the_others():
    groups = Groups((Group(("head",)), Group(None, Adam())))
    assert pure.state_shapes(measuring(PLAIN)._replace(optimizer=groups)).noise.trace.shape == (2,)
