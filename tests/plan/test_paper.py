"""The paper's numbers: updates, batches and rates of its schedules."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jbatch.run.reopen import load_experiment_file

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


# name → (variant's updates, batch and rate of each interval between the schedule's steps)
DECAYING = (78_000, [(128, 0.1), (128, 0.02), (128, 0.004), (128, 0.0008)])


HYBRID = (34_320, [(128, 0.1), (640, 0.1), (640, 0.02), (640, 0.004)])


INCREASING = (28_800, [(128, 0.1), (640, 0.1), (3200, 0.1), (16_000, 0.1)])


STEPS_51 = (0, 60, 120, 160)


STEPS_53 = (0, 30, 60, 80)


PAPER = [
    *[
        ("cifar10_annealing", f"{name}-{schedule}", STEPS_51, expected)
        for name in ("sgd", "momentum", "nesterov")
        for schedule, expected in (
            ("decaying", DECAYING),
            ("hybrid", HYBRID),
            ("increasing", INCREASING),
        )
    ],
    ("cifar10_effective_lr", "original", STEPS_51, DECAYING),
    (
        "cifar10_effective_lr",
        "increasing-batch",
        STEPS_51,
        (29_040, [(128, 0.1), (640, 0.1), (3200, 0.1), (5120, 0.032)]),
    ),
    (
        "cifar10_effective_lr",
        "increased-initial-rate",
        STEPS_51,
        (6_300, [(640, 0.5), (3200, 0.5), (5120, 0.16), (5120, 0.032)]),
    ),
    (
        "cifar10_effective_lr",
        "increased-momentum",
        STEPS_51,
        (2_160, [(3200, 0.5), (5120, 0.16), (5120, 0.032), (5120, 0.0064)]),
    ),
    (
        "imagenet_inception",
        "decaying",
        STEPS_53,
        (14_040, [(8192, 3), (8192, 0.3), (8192, 0.03), (8192, 0.003)]),
    ),
    (
        "imagenet_inception",
        "increasing",
        STEPS_53,
        (5_580, [(8192, 3), (81_920, 3), (81_920, 0.3), (81_920, 0.03)]),
    ),
    (
        "imagenet_inception",
        "momentum-900",
        STEPS_53,
        (5_820, [(8192, 3), (65_536, 2.4), (65_536, 0.24), (65_536, 0.024)]),
    ),
    (
        "imagenet_inception",
        "momentum-950",
        STEPS_53,
        (3_480, [(16_384, 3), (65_536, 1.2), (65_536, 0.12), (65_536, 0.012)]),
    ),
    (
        "imagenet_inception",
        "momentum-975",
        STEPS_53,
        (2_310, [(32_768, 3), (65_536, 0.6), (65_536, 0.06), (65_536, 0.006)]),
    ),
    (
        "imagenet_resnet50",
        "half-pod",
        (5, 30, 60, 80),
        (14_040, [(8192, 3.2), (8192, 0.32), (8192, 0.032), (8192, 0.0032)]),
    ),
    (
        "imagenet_resnet50",
        "growing-pod",
        (5, 30, 60, 80),
        (9_360, [(8192, 3.2), (16_384, 0.64), (16_384, 0.064), (16_384, 0.0064)]),
    ),
    (
        "imagenet_resnet50",
        "full-pod",
        (5, 30, 60, 80),
        (7_020, [(16_384, 6.4), (16_384, 0.64), (16_384, 0.064), (16_384, 0.0064)]),
    ),
]


@cache
def loaded(file):
    return load_experiment_file(EXPERIMENTS / f"{file}.py")


@pytest.mark.parametrize(
    ("file", "variant", "steps", "expected"), PAPER, ids=[f"{p[0]}-{p[1]}" for p in PAPER]
)
def test_counts_batches_and_rates_of_the_paper(file, variant, steps, expected):
    plan = loaded(file).variant(variant).plan.plan()
    updates, intervals = expected
    assert plan.num_updates == updates
    for epoch, (batch_size, learning_rate) in zip(steps, intervals, strict=True):
        first = int(np.searchsorted(plan.positions, epoch * plan.num_examples))
        row = plan.at(first)
        assert row.position == epoch * plan.num_examples
        assert row.batch_size == batch_size
        assert row.learning_rate == pytest.approx(learning_rate, rel=1e-6)


def test_adam_has_the_same_counts_at_a_hundredth_of_the_rate():
    file = load_experiment_file(EXPERIMENTS / "cifar10_annealing.py")
    for schedule, (updates, intervals) in (
        ("decaying", DECAYING),
        ("hybrid", HYBRID),
        ("increasing", INCREASING),
    ):
        plan = file.variant(f"adam-{schedule}").plan.plan()
        assert plan.num_updates == updates
        assert plan.at(updates - 1).batch_size == intervals[-1][0]
        assert plan.at(updates - 1).learning_rate == pytest.approx(intervals[-1][1] / 100, rel=1e-6)


def test_effective_rates_start_at_the_papers_noise_scale():
    file = load_experiment_file(EXPERIMENTS / "cifar10_effective_lr.py")
    scales = [variant.plan.plan().noise_scale(0) for variant in file.variants.values()]
    assert scales == pytest.approx([389.625, 389.625, 385.625, 365.625], rel=1e-6)
