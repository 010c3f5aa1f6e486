"""Traces of a run: when they begin and end, and that they are there."""

import dataclasses

import jax
import pytest
from test_train import GROWING, metrics

from jbatch.run.loop import fit
from jbatch.run.profiler import MOST_PHASES, Profile


class Traced:
    """Stands for the profiler."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr(jax.profiler, "start_trace", lambda path: self.calls.append(path))
        monkeypatch.setattr(jax.profiler, "stop_trace", lambda: self.calls.append("stop"))


def drive(profile, phases) -> list[list[bool]]:
    """For each phase of so many calls, which of them are traced."""
    found = []
    for phase, calls in enumerate(phases):
        found.append([])
        for _ in range(calls):
            if profile.due(phase, calls):
                profile.turn()
            found[-1].append(profile.tracing)
    profile.close()
    return found


def test_ten_calls_of_each_phase_after_its_first_three(tmp_path, monkeypatch):
    traced, said = Traced(monkeypatch), []
    short, one, long = drive(Profile(tmp_path, said.append), [5, 1, 20])
    assert short == [False] * 3 + [True] * 2
    assert one == [True]
    assert long == [False] * 3 + [True] * 10 + [False] * 7
    assert traced.calls[::2] == [str(tmp_path / f"phase-{phase}") for phase in (1, 2, 3)]
    assert traced.calls[1::2] == ["stop"] * 3
    assert "traces are in" in said[0]


def test_no_more_than_some_phases(tmp_path, monkeypatch):
    traced = Traced(monkeypatch)
    drive(Profile(tmp_path, print), [6] * 100)
    assert len(traced.calls) == 2 * MOST_PHASES


def test_a_profiler_that_fails_is_said_once(tmp_path, monkeypatch):
    def full(path):
        raise RuntimeError("no space left")

    said = []
    monkeypatch.setattr(jax.profiler, "start_trace", full)
    drive(Profile(tmp_path, said.append), [20, 20])
    [warning] = said
    assert "no space left" in warning


@pytest.mark.slow
def test_a_profiled_run_is_the_same_run(tmp_path):
    short = dataclasses.replace(
        GROWING, plan=dataclasses.replace(GROWING.plan, num_epochs=3), updates_per_call=4
    )
    one = fit(short, tmp_path / "plain", devices=jax.devices()[:1])
    two = fit(short, tmp_path / "run", devices=jax.devices()[:1], profile=True)
    assert [line["loss"] for line in metrics(tmp_path / "plain")] == [
        line["loss"] for line in metrics(tmp_path / "run")
    ]
    assert one.profile is None
    for phase in (1, 2):
        [trace] = (tmp_path / "run" / "profile" / f"phase-{phase}").rglob("*.xplane.pb")
        names = {
            event.name
            for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
            for line in plane.lines
            for event in line.events
        }
        assert "update" in names
    assert two.clock.ledger.seconds["profiling"] > 0
