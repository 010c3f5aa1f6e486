"""Where fewer updates were not faster."""

import jbatch
from commands import TINY
from jbatch.experiment.comparison import Claim, Comparison
from jbatch.report.runs import Record, summarize
from jbatch.report.speed import full_at, not_faster, rates
from jbatch.report.text import comparison_table

COMPARISON = Comparison((Claim("constant", same=("growing",)),))
ENDS = {10: 100, 100: 10}  # batch size → updates in its 1,000 examples


def run(variant, sizes, speeds, seed=0, waited=0.0, devices="1 × cpu"):
    """Two phases of 1,000 examples each; `speeds` are examples per second at each batch size."""
    plan = jbatch.couple(
        lambda epoch: 0.1 + 0 * epoch,
        num_examples=1000,
        num_epochs=2,
        ramp={0: sizes[0], 1: sizes[1]} if sizes[0] != sizes[1] else {0: sizes[0]},
    )
    lines, update = [], 0
    for epoch, size in enumerate(sizes, 1):
        update += ENDS[size]
        at = {"update": update, "examples": 1000 * epoch, "epoch": epoch, "seconds": 0.0}
        speed = {
            "updates_per_second": speeds[size] / size,
            "examples_per_second": speeds[size],
            "input_wait": waited,
        }
        lines += [{"kind": "train", "loss": 1.0, **at, **speed}]
        lines += [{"kind": "eval", "loss": 1.0, "accuracy": 0.5, **at}]
    return Record(TINY.parent, variant, {"seed": seed}, plan, lines, {"devices": devices})


def said(speeds, **of_growing):
    records = [
        run("constant", (10, 10), speeds),
        run("growing", (10, 100), speeds, **of_growing),
    ]
    return not_faster(records, COMPARISON)


def test_the_batch_at_which_the_device_is_full():
    assert full_at({16: 100.0, 32: 190.0, 64: 200.0, 128: 205.0}) == 32
    assert full_at({16: 100.0, 32: 90.0}) == 16  # larger batches may even be slower
    assert full_at({16: 100.0, 32: 200.0}) is None
    assert full_at({16: 100.0}) is None
    assert full_at({}) is None


def test_rates_are_of_intervals_with_one_batch_size():
    one = run("growing", (10, 100), {10: 50.0, 100: 400.0})
    assert rates([one]) == {10: 50.0, 100: 400.0}
    early = one.lines[0] | {"update": 104}  # an interval with updates of both sizes
    two = Record(TINY.parent, "a", {"seed": 0}, one.plan, [early, *one.lines[2:]])
    assert rates([two]) == {100: 400.0}


def test_a_full_device_is_why():
    assert said({10: 1000.0, 100: 1020.0}) == [
        "growing took 45% fewer updates than constant, but was not faster (1.98 s and 2 s of "
        "training): the device was full at batch 10 (1,000 examples/s there, 1,020 at batch 100)."
    ]


def test_a_device_that_was_not_full_at_the_baseline_s_batch_is_not_why():
    base = [run("constant", (10, 10), {10: 100.0}, seed) for seed in (0, 1)]
    slow = run("growing", (10, 100), {10: 60.0, 100: 200.0})  # rates rise, and yet it was slower
    [text] = not_faster([*base, slow], COMPARISON)
    assert text.endswith("the metrics do not say why.")


def test_larger_batches_may_be_slower():
    [text] = said({10: 1000.0, 100: 500.0})
    assert text.endswith(
        "examples/s fell after batch 10 (1,000 examples/s there, 500 at batch 100)."
    )


def test_slow_updates_keep_their_digits():
    records = [run("constant", (10, 10), {10: 1.0}), run("growing", (10, 100), {10: 1.0, 100: 0.5})]
    [text] = not_faster(records, COMPARISON)
    assert "(3,000 s and 2,000 s of training)" in text
    assert text.endswith("(1 examples/s there, 0.5 at batch 100).")
    header, rows = comparison_table(summarize(records, COMPARISON), COMPARISON)
    assert [row[header.index("updates/s")] for row in rows] == ["0.1", "0.037"]
    assert [row[header.index("examples/s")] for row in rows] == ["1", "0.67"]


def test_what_was_faster_needs_no_sentence():
    assert said({10: 1000.0, 100: 5000.0}) == []
    records = [run(name, (10, 10), {10: 1000.0}) for name in ("constant", "growing")]
    assert not_faster(records, COMPARISON) == []  # nor what took no fewer updates
    assert not_faster(records, None) == []


def test_other_reasons_come_first():
    [of_input] = said({10: 1000.0, 100: 1020.0}, waited=0.25)
    assert of_input.endswith("it waited for input 25% of the time.")
    [short] = said({10: 1e5, 100: 1.02e5}, waited=0.25)
    assert short.endswith(
        "but was not faster (0.0198 s and 0.02 s of training): under a second "
        "is too short to tell why."
    )
    [other] = said({10: 1000.0, 100: 1020.0}, devices="2 × cpu")
    assert other.endswith("they ran on other devices (2 × cpu and 1 × cpu).")
