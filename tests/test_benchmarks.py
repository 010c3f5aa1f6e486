"""The benchmarks run, and what they say of speed is theirs to say."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as suite
from benchmarks import accumulation, check, gpu, growth, outcome, scaling, summary, turns
from benchmarks.apart import Failed, apart
from benchmarks.loops import Loops
from benchmarks.outcome import Outcome, Ratio, Table
from benchmarks.workloads import WORKLOADS, data_of, experiment_of
from commands import environment_of
from jbatch.errors import Mistake
from jbatch.models import GhostBatchNorm, SmallCNN
from jbatch.optim import SGD
from jbatch.plan.layout import Layout
from jbatch.run.start import open_run
from jbatch.step import flops
from marks import slow
from small_runs import learner_of

ROOT = Path(check.__file__).parent.parent


def test_loops_take_equal_turns_and_ratios_are_within_them(monkeypatch):
    now, taken = 0.0, []

    def loop(name, seconds):
        def take(count):
            nonlocal now
            now += count * seconds
            taken.append((name, count))

        return take

    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: now))
    spent = turns.take_turns({"slow": loop("slow", 0.25), "fast": loop("fast", 0.125)}, 3, 2)
    assert {name: values.tolist() for name, values in spent.items()} == {
        "slow": [0.25] * 3,
        "fast": [0.125] * 3,
    }
    # A first window warms up. Each turn begins with an update that is not timed.
    order = ["fast", "slow", "slow", "fast", "fast", "slow", "slow", "fast"]
    assert taken[-16:] == [(name, count) for name in order for count in (1, 8)]
    drifting = {"slow": np.array([2.0, 20.0, 4.0]), "fast": np.array([1.0, 10.0, 2.0])}
    assert turns.ratio(drifting, "fast", "slow") == Ratio(2.0, 2.0, 2.0)


@contextmanager
def noted(path):
    def loop(count: int) -> None:
        if count == 13:
            raise ValueError("thirteen")
        with path.open("a") as file:
            print(count, file=file)

    yield loop


def test_a_loop_in_a_process_of_its_own_does_what_it_is_told_and_says_what_fails(tmp_path):
    path = tmp_path / "counts"
    with apart(noted, path) as loop:
        loop(3)
        assert path.read_text() == "3\n"  # and has waited for it
        loop(4)
        with pytest.raises(Failed, match="ValueError: thirteen"):
            loop(13)
    assert path.read_text() == "3\n4\n"


@contextmanager
def unmakeable(what):
    raise ValueError(what)
    yield


@pytest.mark.slow
def test_a_loop_that_cannot_be_made_says_so_at_once():
    with pytest.raises(Failed, match="ValueError: no compiler"), apart(unmakeable, "no compiler"):
        raise AssertionError("it was made")


ratios = st.tuples(st.floats(0.1, 10), st.floats(0, 0.5), st.floats(0, 0.5)).map(
    lambda of: Ratio(of[0], of[0] * (1 - of[1]), of[0] * (1 + of[2]))
)


@given(ratios, ratios)
def test_a_ratio_fell_only_by_more_than_its_noise(before, now):
    [change] = check.changes({"a": before, "b": before}, {"a": now, "c": now})
    assert change.name == "a"
    between = (before.high - before.low + now.high - now.low) / 2
    noise = max(between, 0.05 * before.median)
    assert change.noise == pytest.approx(noise)
    assert change.fell or before.median - now.median <= noise * (1 + 1e-9)
    assert not change.fell or before.median - now.median >= noise * (1 - 1e-9)
    [same] = check.changes({"a": before}, {"a": before})
    assert not same.fell


def test_check_names_what_fell(tmp_path, capsys):
    environment = {"cores": 2}
    steady = {"environment": environment, "ratios": {"a": [1.0, 0.99, 1.01], "b": [2.0, 1.9, 2.1]}}
    slower = {"environment": {"cores": 4}, "ratios": {"a": [0.9, 0.89, 0.91], "b": [1.9, 1.8, 2]}}
    baselines, now = tmp_path / "baselines.json", tmp_path / "now.json"
    now.write_text(json.dumps(steady))
    assert check.main(check.Options((now,), baselines, write=True)) == 0
    assert check.main(check.Options((now,), baselines)) == 0
    now.write_text(json.dumps(slower))
    assert check.main(check.Options((now,), baselines)) == 1
    said = capsys.readouterr().out
    assert "1 of 2 fell by more than their noise: a\n" in said
    assert "the baseline was made elsewhere: cores was 2 and is 4" in said


def test_a_baseline_is_of_several_runs(tmp_path):
    """Its noise is between runs too, and not only within one."""
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, median in zip(paths, (1.0, 1.3, 1.1), strict=True):
        ratios = {"a": [median, median - 0.1, median + 0.1]}
        path.write_text(json.dumps({"environment": {}, "ratios": ratios}))
    baselines = tmp_path / "baselines.json"
    assert check.main(check.Options(tuple(paths), baselines, write=True)) == 0
    found = json.loads(baselines.read_text())["ratios"]["a"]
    assert found == pytest.approx([1.1, 0.9, 1.4])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "is no file that a benchmark has written"),
        ('{"environment": {}, "ratios": {"a": 1}}', "is no file that a benchmark has written"),
        ('{"environment": {}, "ratios": {}}', "none of these files has a ratio"),
        ('{"environment": {}, "ratios": {}, "quick": true}', "is of a --quick run"),
    ],
)
def test_check_refuses_what_it_cannot_compare(tmp_path, text, said):
    path, baselines = tmp_path / "found.json", tmp_path / "baselines.json"
    path.write_text(text)
    with pytest.raises(Mistake, match=said):
        check.main(check.Options((path,), baselines, write=True))
    assert not baselines.exists()
    baselines.write_text('{"environment": {}, "ratios": {"a": [1, 1, 1]}}')
    with pytest.raises(Mistake, match=said):
        check.main(check.Options((path,), baselines))


def test_check_measures_nothing_that_it_cannot_compare(tmp_path, monkeypatch):
    """A benchmark on a CPU may make a device of each core; other devices are other machines."""
    baselines, ratios = tmp_path / "baselines.json", {"a": [1, 1, 1]}

    def found(devices):
        return {"environment": {"devices": devices}, "ratios": ratios}

    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, devices in zip(paths, ("1 × cpu", "2 × cpu", "8 × H100"), strict=True):
        path.write_text(json.dumps(found(devices)))
    broken = tmp_path / "broken" / "0.json"
    broken.parent.mkdir()
    broken.write_text("{}")
    monkeypatch.setattr(check, "measured", pytest.fail)
    with pytest.raises(Mistake, match="--from has no value: give JSON files"):
        check.main(check.Options((), write=True))
    with pytest.raises(Mistake, match=r"0\.json is no baseline: write one"):
        check.main(check.Options(baselines=broken))
    with pytest.raises(Mistake, match=r"baselines\.json cannot be read"):
        check.main(check.Options(baselines=baselines))
    check.main(check.Options((paths[0],), baselines, write=True))
    assert check.main(check.Options((paths[1],), baselines)) == 0
    with pytest.raises(Mistake, match="the first result is of cpu, and this is 8 × H100"):
        check.main(check.Options(tuple(paths), baselines, write=True))
    measured = map(check._read, (paths[2], tmp_path / "not reached"))
    monkeypatch.setattr(check, "measured", lambda: measured)
    with pytest.raises(Mistake, match="the baseline is of cpu, and this is 8 × H100: make a base"):
        check.main(check.Options(baselines=baselines))


def test_the_committed_baselines_can_be_read():
    found = json.loads(check.BASELINES.read_text())
    assert len(found["ratios"]) > 10
    assert all(len(ratio) == 3 and min(ratio) > 0 for ratio in found["ratios"].values())
    of_each = ("trainer/bare", "jbatch/torch", "accumulating/microbatching", "chosen/best")
    of_each += ("update/first", "imports/first", "jbatch/tf.data")
    assert len(of_each) == len(check.MEASURED)
    assert all(any(name.startswith(start) for name in found["ratios"]) for start in of_each)


@pytest.mark.parametrize(("name", "size", "micro_batch"), [slow("mlp", 64, None), ("mlp", 64, 16)])
def test_the_bare_loop_is_the_trainers_update(tmp_path, name, size, micro_batch):
    """After an epoch in the order of the data, each has seen the same examples."""
    workload = WORKLOADS[name]._replace(held=256)
    experiment = experiment_of(workload, data_of(workload), size, micro_batch=micro_batch)
    with open_run(experiment, tmp_path / "run", devices=jax.devices()[:1]) as run:
        loops = Loops(run)
        costs = loops.costs()
        loops.trainer(4)
        loops.bare(4)
        if micro_batch is None:
            loops.prebuilt(2)
        assert run.update == 4
    assert len(loops.layouts) == (4 if micro_batch else 1)
    # Two layers of 512, forward, and backward twice: 6 FLOPs a weight and example, less the first
    # layer's gradient of its input. Products alone count, so it is exact.
    weights, first = 784 * 512 + 512 * 512 + 512 * 10, 784 * 512
    assert costs["flops"] == size * (6 * weights - 2 * first)
    assert costs["reductions"] == 0


def test_flops_of_convolutions_are_counted_by_their_shapes():
    """Whatever computes them: a loop hides most of what it does from the compiler's count."""
    learner = learner_of(SmallCNN((64, 32), GhostBatchNorm(8)), SGD())  # of 8×8 pixels
    first, second, head = 16 * 9 * 64, 4 * 9 * 64 * 32, 4 * 32 * 10
    expected = 2 * 8 * (2 * first + 3 * second + 3 * head)  # no gradient by the images
    assert flops.of_pass(learner, Layout(8, 1, 8)) == expected


def test_a_page_holds_what_was_found(tmp_path):
    table = Table(("network", "updates/s"), [("mlp <1>", "12.5")])
    found = Outcome([table], {"seeds": [0]}, ["A note."])
    outcome.write(tmp_path / "peers.json", found, "What peers do.\n\nAt length.\n")
    page = suite.write_page(tmp_path, ["peers"], ["growth"]).read_text()
    for text in ("mlp &lt;1&gt;", "12.5", "A note.", "What peers do.", "At length.", "growth"):
        assert text in page


def test_the_page_begins_with_what_the_machine_does(tmp_path):
    """In five lines: the machine, what fills it, the fullest, the peers, and a growing batch."""
    speeds = {  # (network, batch): (examples/s, utilization)
        ("mlp", 32): (50_000, 0.4), ("mlp", 128): (91_000, 0.6), ("mlp", 640): (100_000, 0.7),
        ("cnn", 32): (26_000, 0.2), ("cnn", 640): (25_000, 0.2),
    }  # fmt: skip
    rows = [
        {
            "network": name,
            "batch_size": size,
            "examples_per_second": speed,
            "utilization": share,
            "epoch_seconds": 60_000 / speed,
        }
        for (name, size), (speed, share) in speeds.items()
    ]
    environment = {"devices": "1 × cpu", "processor": "Thing", "cores": 2}
    peers = [
        {"loop": "jbatch", "ratio": [1.0, 1.0, 1.0]},
        {"loop": "flax", "ratio": [1.61, 1.5, 1.7]},
        {"loop": "flax", "ratio": [1.2, 1.1, 1.3]},
    ]
    change = {"network": "MLP", "batch": [128, 640], "ratio": [0.8, 0.7, 0.9]}
    found = {
        "updates_per_second": {"environment": environment, "rows": rows, "peak": 2e11},
        "peers": {"rows": peers},
        "phase_change": {"rows": [change]},
    }
    machine, filled, fullest, beside, grown = summary.lines(found)
    assert machine.startswith("This machine trains on 1 × cpu (Thing) with 2 cores, whose")
    assert "mlp fills it from batch 128 on, at 91,000 examples/s and 0.66 s an epoch" in filled
    assert "cnn fills it from batch 32 on" in filled
    assert "The fullest is mlp at batch 640: 70%" in fullest
    assert "batch 32 trains it at 50% of the speed" in fullest
    assert "1.20 to 1.61 of flax" in beside
    assert "costs 0.25 of one update" in grown
    assert summary.lines({}) == []


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "gpt"])
def test_growth_compiles_no_program_of_accumulated_updates(network):
    assert accumulation.compiled_by_growth(network, (2, 4, 5)) == [2, 0, 0]


@pytest.mark.slow
def test_growth_accounts_for_whole_plans(tmp_path):
    found = growth.main(growth.Options(variants=("decaying", "increasing"), quick=True))
    decaying, increasing = found.values["runs"]
    assert decaying["updates"] > increasing["updates"]
    assert [row["batch_size"] for row in found.values["phases"]] == [16, 16, 48, 128]
    for row in found.values["runs"]:
        assert 0 < row["training"] < row["seconds"]
    outcome.write(tmp_path / "growth.json", found, growth.__doc__)
    assert (tmp_path / "growth.svg").read_text().count("<svg") == 1


@pytest.mark.slow
def test_scaling_shares_the_work():
    found = scaling.main(scaling.Options(networks=("mlp",), quick=True))
    rows = {(row["kind"], row["devices"]): row for row in found.values["rows"]}
    assert rows["strong", 8]["flops"] < rows["strong", 1]["flops"] / 6  # the optimizer's is not
    assert rows["weak", 8]["flops"] == pytest.approx(rows["weak", 1]["flops"], rel=0.05)
    assert [rows["weak", count]["reductions"] for count in (1, 8)] == [0, 1]
    assert "simulated" in found.notes[0]


# Others have tests of their own above, but for the longest, input_memory.
ALONE = {
    "correctness": (),
    "updates_per_second": ("--networks", "cnn", "--sizes", "32"),
    "open_task": ("--sizes", "128"),
    "peers": ("--networks", "mlp"),
    **dict.fromkeys(("phase_change", "input_pipeline", "plan_building", "seeds", "estimate"), ()),
    **dict.fromkeys(("measured_noise", "noisy_quadratic"), ()),
    **dict.fromkeys(("cold_start", "micro_batch", "accumulation"), ()),
}


def test_a_quick_suite_is_what_tells_of_the_machine():
    assert suite.Options().names == suite.SUITE
    assert suite.Options(quick=True).names == suite.OF_THE_MACHINE
    assert suite.Options(quick=True, only=("seeds",)).names == ("seeds",)


def test_benchmarks_of_a_suite_run_apart(tmp_path, monkeypatch, capsys):
    commands = []

    def run(command, *, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, len(commands) - 1)  # the second fails

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(suite, "write_page", lambda *_: "a page")
    assert suite.main(suite.Options(tmp_path, only=("peers", "seeds"), quick=True)) == 1
    assert commands == [
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", f"{tmp_path}/{name}.json"]
        for name in ("peers", "seeds")
    ]
    assert "python -m benchmarks.peers --quick\nbenchmarks.peers: 0 s\n" in capsys.readouterr().out


def test_all_benchmarks_are_tested():
    assert set(suite.SUITE) - set(ALONE) == {"growth", "scaling", "input_memory"}


def test_a_gpu_is_measured_where_it_stopped(tmp_path, capfd):
    found = Outcome([Table(("way",), [("passes",)])], {"seeds": [0]})
    for part in gpu.OF_CPU:
        outcome.write(tmp_path / f"{part}.json", found, "About.")
    assert gpu.main(gpu.Options(tmp_path)) == 0
    assert capfd.readouterr().out.count("measured before") == len(gpu.OF_CPU)
    assert "passes" in (tmp_path / "bench.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_each_runs_alone(name, tmp_path):
    path = tmp_path / f"{name}.json"
    # Flax's own metrics mix dtypes.
    environment = environment_of(1) | {"JAX_NUMPY_DTYPE_PROMOTION": "standard"}
    command = (sys.executable, "-m", f"benchmarks.{name}", "--quick", *ALONE[name])
    command += ("--json", str(path))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert found["tables"]
    if name != "correctness":
        assert found["caption"]
        assert path.with_suffix(".svg").exists()
