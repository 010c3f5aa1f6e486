"""Which run directories a folder has."""

import pytest

from jbatch.errors import Mistake
from jbatch.run.below import any_below, runs_below


def run_in(folder):
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    return folder


def test_runs_are_found_at_and_below_and_behind_links_once(tmp_path):
    runs, far = tmp_path / "runs", tmp_path / "far"
    found = [run_in(runs / "b" / "seed1"), run_in(runs / "a"), run_in(runs / "a" / "below")]
    run_in(far / "seed2")
    (runs / "linked").symlink_to(far)
    (runs / "again").symlink_to(far / "seed2")
    (runs / "a" / "around").symlink_to(runs)
    (runs / "a" / "further").symlink_to(tmp_path)
    run_in(tmp_path / "beside")
    (runs / "lost").symlink_to(tmp_path / "nowhere")
    assert any_below(runs) == sorted([*found, runs / "again"])
    assert runs_below(runs / "linked") == [runs / "linked" / "seed2"]
    assert runs_below(runs / "a" / "below") == [runs / "a" / "below"]


def test_a_folder_without_runs(tmp_path):
    assert any_below(tmp_path / "none") == []
    with pytest.raises(Mistake, match="holds no run"):
        runs_below(tmp_path)
    with pytest.raises(Mistake, match="is no folder"):
        runs_below(tmp_path / "none")
