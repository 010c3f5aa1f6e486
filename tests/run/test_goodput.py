"""The account of a run's time, over all its starts."""

import json
import time

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import TINY
from jbatch.run.goodput import AWAY, LOST, Ledger, _resumed, account_text, goodput, read_account
from jbatch.run.loop import fit, run_until
from jbatch.run.reopen import load_experiment_file
from jbatch.run.start import open_run

GROWING = load_experiment_file(TINY).variant("growing")


def line(at, examples, **seconds):
    return {"time": at, "examples": examples, "seconds": seconds}


def test_what_was_done_after_the_checkpoint_is_lost():
    lines = [
        line(10, 0, compilation=5.0),
        line(20, 100, compilation=5.0, training=9.0, saving=1.0),  # the checkpoint
        line(27, 160, compilation=5.0, training=16.0, saving=1.0),  # the last sign of life
    ]
    seconds = _resumed(lines, 100, now=60)
    assert seconds == {"compilation": 5, "training": 9, "saving": 1, LOST: 7, AWAY: 33}
    assert goodput(seconds) == 9 / 22


def test_losses_add_up_over_several_kills():
    lines = [
        line(20, 100, training=10.0),
        line(25, 150, training=15.0),
        line(31, 100, training=10.0, lost=5.0, away=6.0),  # began again
        line(39, 180, training=18.0, lost=5.0, away=6.0),
    ]
    again = _resumed(lines, 100, now=40)
    assert again == {"training": 10, LOST: 13, AWAY: 7}
    # A checkpoint of the first start is all that is left, or none.
    assert _resumed(lines, 0, now=40) == {LOST: 23, AWAY: 7}


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 3), st.booleans()), max_size=12))
def test_every_second_is_somewhere(starts):
    """Whatever is lost and gone on from: the parts are the whole time since the first start."""
    lines, seconds, now, position = [line(0, 0)], {}, 0.0, 0
    for spent, back, dies in starts:
        now += spent
        seconds["training"] = seconds.get("training", 0) + spent
        position += 1
        lines.append(line(now, position, **seconds))
        if dies:
            now += 1
            position = max(position - back, 0)
            seconds = _resumed(lines, position, now)
            lines.append(line(now, position, **seconds))
    assert sum(seconds.values()) == pytest.approx(now)
    assert min(seconds.values(), default=0) >= 0


def test_a_run_accounts_for_all_its_time(tmp_path):
    with open_run(GROWING, tmp_path / "run", devices=jax.devices()[:1]) as run:
        run_until(run, 80)
    left = time.time()
    time.sleep(1)
    came = time.time()
    run = fit(GROWING, tmp_path / "run", devices=jax.devices()[:1])
    seconds = read_account(tmp_path / "run" / "goodput.jsonl")
    lines = list(map(json.loads, (tmp_path / "run" / "goodput.jsonl").read_text().splitlines()))
    total = lines[-1]["time"] - lines[0]["time"] + sum(lines[0]["seconds"].values())
    assert sum(seconds.values()) == pytest.approx(total, abs=0.1)  # two clocks, read in turn
    # The last line of the first start is of an update that its second one takes again.
    assert came - left <= seconds[AWAY] < total - seconds["start-up"]
    assert 0 < seconds[LOST] < total - seconds["start-up"] - seconds[AWAY]
    assert seconds.keys() >= {"start-up", "compilation", "training", "evaluation", "saving"}
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-2])
    before = (tmp_path / "run" / "goodput.jsonl").read_text()
    accounts = map(json.loads, before.splitlines())
    then = next(line for line in accounts if line["examples"] == last["examples"])
    # Up to the time that it took to write the two lines.
    assert last["goodput"] == pytest.approx(goodput(then["seconds"]), abs=0.1)
    fit(GROWING, tmp_path / "run", devices=jax.devices()[:1])  # it is finished already
    assert (tmp_path / "run" / "goodput.jsonl").read_text() == before


def test_the_account_in_a_line():
    seconds = {"compilation": 2.0, "training": 7.0, AWAY: 90.0, LOST: 0.01, "saving": 0.99}
    assert account_text(seconds) == (
        "goodput 70.0% of 10.0 s: training 7.0 s, compilation 2.0 s, saving 1.0 s; away 90.0 s"
    )


def test_a_damaged_account_costs_no_run(tmp_path):
    path = tmp_path / "goodput.jsonl"
    for _ in range(3):  # a line cut by a kill, and begun again on top of it
        ledger = Ledger(path, 0)
        ledger.add("training", 3)
        ledger.write(40)
        ledger.close()
        with path.open("a") as file:
            file.write('{"time": 1, "exam')
        assert read_account(path)["training"] == 3
    path.write_text("{}\nno account\n")
    Ledger(path, 0).close()
    assert read_account(path) == {}
    assert read_account(tmp_path / "none") == {}
