"""Several processes begin with another run's weights, and evaluate on a validation set."""

import shutil

import pytest

from commands import TINY, end_all, start_all
from runs import without_times

TUNED = TINY.with_name("tuned.py")


def trained(folder, count, variant, name, code=0, each=((), ())):
    """The lines of a run's metrics, trained by `count` processes; what they print if they fail."""
    command = (folder / TUNED.name, variant, "--run-dir", folder / name)
    outcomes = end_all(start_all(count, *command, devices=4, each=each))
    for outcome, _, err in outcomes:
        assert outcome == code, err
    return [err for *_, err in outcomes] if code else without_times(folder / name)


@pytest.mark.slow
def test_two_processes_fine_tune_and_validate_as_one(tmp_path):
    shutil.copy(TUNED, tmp_path)
    trained(tmp_path, 1, "first", "first")
    one, two = (trained(tmp_path, count, "tuned", f"tuned-{count}") for count in (1, 2))
    assert [(line["kind"], line["epoch"]) for line in one if line["kind"] != "train"] == [
        *(("test", 0), ("eval", 0), ("eval", 1), ("test", 2), ("eval", 2))
    ]
    assert one[1]["accuracy"] < one[-1]["accuracy"]  # the head was drawn anew
    for mine, theirs in zip(one, two, strict=True):
        # 64 updates, each a sum of 40 examples in another order: see test_cluster.
        assert mine.pop("loss") == pytest.approx(theirs.pop("loss"), rel=2e-5)
        assert mine.pop("accuracy") == pytest.approx(theirs.pop("accuracy"), abs=5e-3)
        assert mine == theirs
    said = trained(tmp_path, 2, "tuned", "other", code=2, each=((), ("--init.run", "nowhere")))
    assert all("process 1 does not see nowhere, the run of init: give" in text for text in said[1:])
