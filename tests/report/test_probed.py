"""What a probe prints and draws."""

import json
import math

import jbatch
from jbatch.plan.branch import Window
from jbatch.plan.critical import Branch, Place
from jbatch.plan.probed import Probed
from jbatch.report.drawing import saved
from jbatch.report.probed import figures, probed_json

PLAN = jbatch.couple(lambda _: 0.1, num_examples=1000, num_epochs=20, batch_size=10)
LOSSES = {  # position → losses of the window's four parts, for 1, 2 and 4 times the batch
    2000: ([3.0, 2.5, 2.1, 2.0], [3.0, 2.5, 2.104, 2.0], [3.0, 2.5, 2.5, 2.3]),
    6000: ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.99, 0.98], [1.0, 1.0, 1.0, 0.98]),
    9000: ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.5, math.nan], [1.0, 9.0, math.nan, math.nan]),
}


def place(position, losses, noise_scale):
    branches = [
        Branch(k, 10 * k, 16 // k, 0.1 * k, tuple(each), (40.0,) * 4, noise_scale)
        for k, each in zip((1, 2, 4), losses, strict=True)
    ]
    return Place(position / 20_000, Window(position, 10, 40, 4), tuple(branches))


FOUND = Probed(
    plan=PLAN,
    places=tuple(
        place(position, losses, 123.4 if position < 9000 else None)
        for position, losses in LOSSES.items()
    ),
    tolerance=0.01,
    seed=1,
    ramp="0:10 2:20 6:40",
    ramp_updates=650,
    seconds=12.3,
)
PRINTED = """\
from      batch   updates   learning rate       loss        above k = 1   noise scale
───────────────────────────────────────────────────────────────────────────────────
epoch 2    10          16             0.1     2.0500                              123
           20 *         8             0.2     2.0520   +0.0020 ± 0.0020           123
           40           4             0.4     2.4000   +0.3500 ± 0.0500           123
epoch 6    10          16             0.1     1.0000                              123
           20           8             0.2     0.9850   −0.0150 ± 0.0050           123
           40 *         4             0.4     0.9900   −0.0100 ± 0.0100           123
epoch 9    10 *        16             0.1     1.0000
           20           8             0.2   diverged
           40           4             0.4   diverged
"""


def test_the_text():
    text = str(FOUND)
    table = [" ".join(line.split()) for line in text.split("\n\n")[0].splitlines()]
    expected = [" ".join(line.split()) for line in PRINTED.splitlines()]
    assert [table[0], *table[2:]] == [expected[0], *expected[2:]]
    assert (
        "epoch 2, over 160 examples: critical batch 20; gradient noise scale 123 examples" in text
    )
    assert (
        "epoch 6, over 160 examples: critical batch at least 40; gradient noise scale 123 examples"
        in text
    )
    assert "epoch 9, over 160 examples: critical batch 10; gradient noise scale not found" in text
    assert '\n  ramp="0:10 2:20 6:40"\n' in text
    assert "It takes 650 updates, and the run takes 2,000." in text
    assert "trained on 1,440 examples\n(7.2% of the run's) in 12 s." in text


def test_the_json_has_no_numbers_that_are_none():
    values = json.loads(json.dumps(probed_json(FOUND), allow_nan=False))
    last = values["places"][2]["branches"][2]
    assert (last["loss"], last["losses"], last["uncertainty"]) == (None, [1, 9, None, None], None)
    assert [place["at_least"] for place in values["places"]] == [False, True, False]
    assert values["cost"] == {"examples": 1440, "share": 0.072, "seconds": 12.3}


def test_the_figures():
    made = figures(FOUND)
    assert list(made) == ["losses", "critical"]
    again = figures(FOUND)
    for name, figure in made.items():
        assert saved(figure, "svg") == saved(again[name], "svg")
    [axes] = made["critical"].axes
    shown = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert shown["critical batch"] == [[2, 20], [6, 40], [9, 10]]
    assert shown["at least"] == [[6, 40]]
    assert shown["gradient noise scale"] == [[2, 123.4], [6, 123.4]]
    assert shown["the ramp's batch"] == [[0, 10], [2, 20], [6, 40], [20, 40]]
    assert shown["the run's batch"] == [[0, 10], [20, 10]]
