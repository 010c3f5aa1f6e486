"""Momentum's memory, of runs whose updates are as long as the theory says."""

import numpy as np
import optax
import pytest

import jbatch
from commands import TINY
from jbatch.experiment.described import describe
from jbatch.optim import SGD
from jbatch.report.runs import Record
from jbatch.report.transient import transient, transient_figure, transient_text

PLAIN = SGD()


def run(momentum, *, seed=0, growth=1.0, optimizer=PLAIN, missing=None):
    """Noise of variance ∝ 1/B: |Δω|² goes from 1/10 to 1/40 as m^(2t)."""
    plan = jbatch.couple(
        optax.piecewise_constant_schedule(0.1, {3: 0.25}),
        num_examples=1000,
        num_epochs=40,
        batch_size=10,
        batch_sizes=[10, 40],
        momentum=momentum,
        growth=growth,
    )
    change = plan.phases[1].first_update if len(plan.phases) > 1 else plan.num_updates
    rng = np.random.default_rng(seed)
    lines = []
    for update in range(plan.num_updates):
        since = max(update + 1 - change, 0)
        level = 1 / 40 + (1 / 10 - 1 / 40) * momentum ** (2 * since)
        if update != missing:
            moved = np.sqrt(level * rng.normal(1, 0.02))
            lines.append(
                {
                    "kind": "train",
                    "update": update + 1,
                    "examples": plan.position(update + 1),
                    "moved": moved,
                }
            )
    lines.append(
        {"kind": "eval", "update": plan.num_updates, "examples": plan.end, "accuracy": 1.0}
    )
    described = {"seed": seed, "optimizer": describe(optimizer)}
    return Record(TINY.parent, "a", described, plan, lines)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.95])
def test_it_settles_over_as_many_updates_as_in_theory(momentum):
    found = transient([run(momentum, seed=seed) for seed in range(20)])
    assert found.memory == pytest.approx(1 / (1 - momentum**2), rel=0.1)
    assert abs(found.memory - 1 / (1 - momentum**2)) < 4 * found.memory_error < 0.8
    # Noise of 2% of a level that is (1/3 + m²) times what there is to lose, in a mean of 20.
    assert found.error[0] == pytest.approx(0.02 * (1 / 3 + momentum**2) / 20**0.5, rel=0.6)
    theory = momentum ** (2 * (np.arange(len(found.left)) + 1))
    np.testing.assert_allclose(found.left, theory, atol=0.04)  # 5 deviations of a mean of 20
    assert f"theory 1/(1−m²) = {1 / (1 - momentum**2):.1f}" in transient_text("a", found)
    _, figure = transient_figure({"a": found})
    assert len(figure.axes[0].get_lines()) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"growth": 0.5},  # the rate falls as well
        {"growth": 0.0},  # no change of batch
        {"optimizer": SGD(nesterov=True)},
        {"missing": 400},
    ],
)
def test_what_is_no_transient_of_noise_tells_none(other):
    assert transient([run(0.9, **other)]) is None


def test_without_momentum_there_is_no_memory():
    assert transient([run(0.0)]) is None
