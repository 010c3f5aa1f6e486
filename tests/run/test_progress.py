"""What a person sees while a run goes on."""

import optax

import jbatch
from jbatch.run.progress import Bar, Lines

PLAN = jbatch.couple(
    optax.piecewise_constant_schedule(0.1, {2: 0.5}),
    num_examples=100,
    num_epochs=4,
    batch_size=10,
    batch_sizes=[10, 20],
)
LINE = {
    "update": 20,
    "examples": 200,
    "epoch": 2.0,
    "phase": 0,
    "batch_size": 10,
    "learning_rate": 0.1,
    "loss": 0.5,
    "updates_per_second": 1234.5,
    "examples_per_second": 12345.0,
    "input_wait": 0.0,
}


def test_lines_say_phase_batch_rate_speed_and_time_left(capsys):
    lines = Lines(seconds_between=0)
    lines.begin("increasing", PLAN, 0)
    lines.logged(LINE)
    assert capsys.readouterr().err == (
        "increasing: epoch 2.0/4  phase 1/2  batch 10  rate 0.1  loss 0.5  1,234 updates/s  "
        "12,345 examples/s  0:00:00 left\n"
    )


def test_bar_says_phase_batch_rate_and_speed(capsys):
    bar = Bar()
    bar.begin("increasing", PLAN, 0)
    bar.say("warning: look out")
    bar.logged(LINE)
    bar.advance(20)
    assert bar._where.plain == (
        "phase 2/2  batch 20  rate 0.1  loss 0.5  1,234 updates/s  12,345 examples/s"
    )
    bar.end()
    assert "warning: look out" in capsys.readouterr().err


def test_lines_are_not_more_often_than_asked(capsys):
    lines = Lines(seconds_between=60)
    lines.begin("increasing", PLAN, 5)
    for _ in range(3):
        lines.logged(LINE)
    assert capsys.readouterr().err == "increasing: resumes at update 5\n"
