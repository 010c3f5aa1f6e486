"""An optimizer state in parts over the devices: the same numbers, in less memory."""

import dataclasses
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jbatch
from jbatch import LAMB, LARS, SGD, AdamW, Coupling, Hold, Mistake
from jbatch.analysis.split_check import check_experiment
from jbatch.data.image.augment import Augment
from jbatch.devices import parts
from jbatch.distributed.preemption import PhaseEnd
from jbatch.estimate.hlo_costs import collectives
from jbatch.models import MLP, GhostBatchNorm
from jbatch.plan.layout import Layout
from jbatch.plan.passes import Update
from jbatch.run.checkpoint import Checkpoints, parameters_digest
from jbatch.step import held, programs
from marks import slow
from small_runs import DATA, learner_of, run_updates, setup_of
from trained_runs import TUNED

# The first kernel, (64, 32), is split. Norms, biases and the head, (32, 10), are small and whole.
NETWORK = MLP((32,), GhostBatchNorm(16))
AVERAGED = learner_of(NETWORK, AdamW())._replace(average=500.0)


def both(learner, devices=8):
    """The setup with the optimizer's state whole on every device, and in parts."""
    setup = setup_of(learner, devices)
    return setup, dataclasses.replace(setup, optimizer_state="sharded")


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@given(
    st.lists(st.sampled_from([1, 2, 3, 8, 12, 50, 64, 257]), max_size=4).map(tuple),
    st.sampled_from([1, 2, 3, 8, 256]),
)
def test_an_array_is_split_evenly_or_not_at_all(shape, devices):
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    axis, spec = parts.split_axis(shape, devices), parts.spec(leaf, devices)
    whole = 4 * int(np.prod(shape))
    assert parts.share(leaf, spec, devices) == (whole if axis is None else whole // devices)
    if axis is None:
        small = np.prod(shape) < parts.LEAST
        assert small or devices == 1 or all(length % devices for length in shape)
    else:
        assert shape[axis] % devices == 0
        assert all(length % devices for length in shape[:axis])
        assert tuple(spec) == (None,) * axis + ("devices",)


@pytest.mark.parametrize(("optimizer", "passes"), [(AdamW(), 1), (SGD(weight_decay=5e-4), 3)])
def test_the_same_bits_where_each_number_is_by_itself(optimizer, passes):
    """Sums of devices are in the same order, and then every number has an update of its own.

    It is so without LLVM's optimizations, as default tests compile. With them, a multiplication and
    an addition become one operation in one program and not in the other.
    """
    learner = learner_of(NETWORK, optimizer)._replace(average=500.0)
    whole, split = (
        run_updates(setup, batch_size=48, passes=passes, updates=5) for setup in both(learner)
    )
    assert split[1] == whole[1]
    for mine, theirs in zip(leaves(split[0]), leaves(whole[0]), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def clipped(rate):
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(rate, weight_decay=0.1))


def muon(rate):
    return optax.contrib.muon(rate)


@pytest.mark.parametrize("optimizer", [clipped, *map(slow, (LAMB(), LARS(), muon))])
def test_an_optimizer_that_needs_whole_arrays_has_them(optimizer):
    learner = learner_of(NETWORK, optimizer)
    whole, split = (run_updates(setup, batch_size=48, updates=5)[0] for setup in both(learner))
    # A norm adds up to 2,000 squares in another order, √2000 · 2⁻²⁴ = 3e-6 of itself; five steps
    # of at most a tenth of the largest parameter pass that on. Muon's five products round a few
    # times more.
    for mine, theirs in zip(leaves(split.params), leaves(whole.params), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


def test_state_lies_in_parts_and_parameters_whole():
    _, setup = both(AVERAGED)
    state, _ = run_updates(setup, batch_size=48, updates=2)
    for tree in (state.optimizer, state.average.params):
        for leaf in jax.tree.leaves(tree):
            share = leaf.size // 8 if leaf.size >= parts.LEAST else leaf.size
            assert {each.data.size for each in leaf.addressable_shards} == {share}
    for leaf in jax.tree.leaves((state.params, state.stats, state.average.stats)):
        assert leaf.is_fully_replicated


def test_gradients_are_scattered_and_parameters_gathered():
    setup = both(learner_of(MLP((32,)), SGD(weight_decay=5e-4)))[1]
    text = programs.compiled(setup, Update(Layout(48, 8, 1))).compiled.as_text()
    kernel, small = 4 * 64 * 32, 4 * (32 + 32 * 10 + 10)
    found = sorted(collectives(text), reverse=True)
    # Half for the reduce-scatter, half for the all-gather; the rest in one all-reduce.
    assert found[:2] == [kernel // 2, kernel // 2]
    assert sum(found) == pytest.approx(kernel + small, abs=4 * 16)


def test_a_device_holds_less():
    whole, split = both(AVERAGED)
    layout = Layout(48, 8, 16)
    here, there = (held.in_memory(setup, layout) for setup in (split, whole))
    saved = 3 * 4 * 64 * 32 * 7 // 8  # two moments and the average, of the first kernel
    assert there["optimizer state"] - here["optimizer state"] == saved
    assert {**here, "optimizer state": 0} == {**there, "optimizer state": 0}
    here, there = (programs.compiled(setup, Update(layout)).memory for setup in (split, whole))
    assert there.arguments - here.arguments == saved
    assert here.outputs <= 512  # the loss, and where results are: the state has its memory again


@pytest.mark.slow
def test_several_updates_a_call_held_values_and_noise():
    """All that an update can be told, and a loop of updates on the devices."""
    learner = learner_of(NETWORK, AdamW(b2=0.95), Augment())
    learner = learner._replace(held=("momentum", "b2"), noise_of=1500)
    found = []
    for setup in both(learner):
        setup = dataclasses.replace(setup, updates_per_call=3)
        call = programs.compiled(setup, Update(Layout(48, 8, 16)))
        hows = [programs.how(0.01, 3, 48, 0.9 - 0.1 * n, 0.95) for n in range(2)]
        inputs = run_feed(setup)
        state = programs.initializer(setup)(np.uint32(0))
        found.append(leaves(call(state, programs.told(setup, hows), *inputs)))
    for mine, theirs in zip(*found, strict=True):
        # The noise adds up squares of parts in another order, see above.
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def run_feed(setup):
    return DATA.feed(setup.mesh, 0).arguments(0, Layout(48, 8, 16))


def test_a_checkpoint_is_the_same_and_read_either_way(tmp_path):
    setups = whole, split = both(AVERAGED)
    states = [run_updates(setup, batch_size=48, updates=1)[0] for setup in setups]
    for name, state in zip("ws", states, strict=True):
        with closing(Checkpoints(tmp_path / name, print)) as checkpoints:
            checkpoints.save(48, state)
    for name, setup in (("w", split), ("s", whole), ("s", setup_of(AVERAGED, 2))):
        with closing(Checkpoints(tmp_path / name, print, read_only=True)) as checkpoints:
            found = checkpoints.restore(programs.state_on_devices(setup)).state
        for mine, theirs in zip(leaves(found), leaves(states[0]), strict=True):
            np.testing.assert_array_equal(mine, theirs)


GROWS = dataclasses.replace(
    TUNED,
    plan=Coupling(
        optax.piecewise_constant_schedule(1e-3, {1: 1 / 2}),
        num_epochs=2,
        batch_size=40,
        batch_sizes=(40, 80),
        scaling=0.5,
        hold=Hold(b2="half_life"),
    ),
    optimizer=AdamW(b2=0.95),
    micro_batch=5,
)
SHARDED = dataclasses.replace(GROWS, optimizer_state="sharded")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return jbatch.fit(GROWS, tmp_path_factory.mktemp("straight") / "run").state.params


def stopped_and_again(directory, first, second, **options):
    """The parameters of a run that goes on as another from its second phase on."""
    with pytest.raises(PhaseEnd):
        jbatch.fit(first, directory, until_phase=1)
    return jbatch.fit(second, directory, **options).state.params


@pytest.mark.slow
def test_a_run_goes_on_without_it(straight, tmp_path):
    """Through growth and accumulation; what is saved does not depend on where it lay."""
    params = stopped_and_again(tmp_path, SHARDED, GROWS)
    assert parameters_digest(params) == parameters_digest(straight)
    assert parameters_digest(jbatch.load(tmp_path).params) == parameters_digest(straight)


@pytest.mark.slow
def test_a_run_goes_on_with_it_and_on_other_devices(straight, tmp_path):
    params = stopped_and_again(tmp_path / "with", GROWS, SHARDED)
    assert parameters_digest(params) == parameters_digest(straight)
    params = stopped_and_again(tmp_path / "other", SHARDED, SHARDED, devices=jax.devices()[:4])
    # Four devices take two passes where eight take one: other sums, see test_split.
    for mine, theirs in zip(leaves(params), leaves(straight), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_the_check_of_splits_passes():
    """One device has the whole state, and several have parts of it."""
    found = list(check_experiment(SHARDED, jax.devices()))
    assert [each for each in found if not each.passed] == []
    assert "8 devices, 1 pass" in {each.what for each in found}


def test_pmap_is_refused(tmp_path):
    with pytest.raises(Mistake, match="which pmap cannot do: give --mapping shard_map"):
        jbatch.fit(dataclasses.replace(SHARDED, mapping="pmap"), tmp_path / "run")


def test_a_plan_prints_what_it_saves(jbatch, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import optax\nfrom jbatch import *\n"
        "variants = {'a': Experiment(Coupling(optax.constant_schedule(0.1), num_epochs=1,\n"
        "    batch_size=40), task=Classify(MLP((512,))), data=Digits(), optimizer=Adam())}\n"
    )
    parts, whole = (
        jbatch("plan", file, "a", "--devices", "8", "--optimizer-state", how)
        for how in ("sharded", "replicated")
    )
    assert parts[0] == whole[0] == 0
    # 64 × 512 and 512 × 10 numbers, twice, in eight parts; biases of 512 and 10, and the count.
    bytes_of_parts = 8 * ((64 * 512 + 512 * 10) // 8 + 512 + 10) + 4
    assert f"optimizer state {bytes_of_parts / 1024:.1f} KiB" in parts[1]
    assert "optimizer state 300 KiB" in whole[1]
