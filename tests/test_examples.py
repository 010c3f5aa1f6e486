"""Stories of docs/your_own.md train, learn and pass `jbatch check`; notebooks and answers run."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import pytest

import jbatch
from jbatch.analysis.split_check import check_experiment
from jbatch.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"
FAQ = Path(__file__).parents[1] / "docs" / "faq.md"
# File, variant → (score, at least). What they reached when they were written, less a margin.
LEARNED = {
    ("own_network", "grow"): ("accuracy", 0.88),
    ("linen_batch_norm", "grow"): ("accuracy", 0.9),
    ("regression", "adam"): ("r2", 0.4),
    ("audio", "grow"): ("accuracy", 0.9),
    ("multi_label", "grow"): ("f1", 0.6),
    ("contrastive", "grow"): ("found", 0.7),
    ("muon", "grow"): ("accuracy", 0.8),
    ("fine_tuning", "odd"): ("accuracy", 0.9),
    ("parquet", "grow"): ("accuracy", 0.85),
}


pytestmark = pytest.mark.usefixtures("standard_promotion")


def example(name, variant):
    if name == "parquet":
        pytest.importorskip("datasets")
    return jbatch.load_file(EXAMPLES / f"{name}.py").variants[variant]


def last(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant"),
    LEARNED,
)
def test_it_learns_and_does_not_depend_on_the_split(name, variant, tmp_path):
    experiment, (score, least) = example(name, variant), LEARNED[name, variant]
    if hasattr(experiment.data, "workers"):  # whose start takes long; they change no bit
        experiment = replace(experiment, data=replace(experiment.data, workers=0))
    jbatch.fit(replace(experiment, micro_batch=64), tmp_path / "run", devices=jax.devices()[:1])
    assert last(tmp_path / "run")[score] > least
    failed = [each for each in check_experiment(experiment, jax.devices()[:4]) if not each.passed]
    assert not failed


@pytest.mark.slow
def test_fine_tuning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variant, directory in (("odd", "runs/odd"), ("digits", "runs/digits")):
        one = replace(example("fine_tuning", variant), micro_batch=32)
        jbatch.fit(one, directory, devices=jax.devices()[:1])
    odd, digits = jbatch.load("runs/odd").params, jbatch.load("runs/digits").params
    assert (odd["first"]["kernel"] == digits["first"]["kernel"]).all()
    assert (odd["second"]["kernel"] != digits["second"]["kernel"]).any()
    assert last(tmp_path / "runs/digits")["accuracy"] > 0.88


def test_the_page_shows_the_first_example_and_names_all():
    page = (EXAMPLES.parent / "docs" / "your_own.md").read_text()
    [shown] = re.findall(r"```python\n(.*?)```", page, re.S)
    assert shown.strip() in (EXAMPLES / "own_network.py").read_text()
    assert len([line for line in shown.splitlines() if line.strip()]) <= 15
    named = set(re.findall(r"\(\.\./examples/(\w+\.\w+)\)", page))
    assert named == {path.name for path in EXAMPLES.iterdir() if path.is_file()}


def run_notebook(name: str) -> dict:
    """Run the cells, one after another, as a notebook does; return its values."""
    values = {"__name__": "__main__"}
    for cell in json.loads((EXAMPLES / name).read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), values)
    plt.close("all")
    return values


def test_the_plan_in_ten_minutes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = run_notebook("ten_minutes.ipynb")
    ends = [values["losses"](plan)[-1, -1] for plan in values["plans"].values()]
    assert ends == pytest.approx([0.045, 0.045], abs=0.005)


@pytest.mark.slow
def test_your_own_network_in_a_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_notebook("notebook.ipynb")["model"].metrics["accuracy"] > 0.85


@pytest.mark.slow
def test_the_answers_of_the_faq_run(tmp_path, monkeypatch):
    """One after another; what needs a library that is not here is left out."""
    monkeypatch.chdir(tmp_path)
    values = {}
    for language, text in re.findall(r"```(\w+)\n(.*?)```", FAQ.read_text(), re.S):
        if any(name in text and not find_spec(name) for name in ("pandas", "wandb")):
            continue
        if language == "python":
            exec(text, values)
            continue
        for command in text.splitlines():
            assert command.startswith("jbatch ")
            assert main(command.split()[1:]) == 0, command
    assert values["model"].metrics["accuracy"] > 0.85
