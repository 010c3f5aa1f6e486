"""Every story of docs/your_own.md trains, learns, and passes `jbatch check`."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import jbatch
from jbatch.analysis.split_check import check_experiment

EXAMPLES = Path(__file__).parents[1] / "examples"
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


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """Its cells, one after another, as a notebook runs them."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    names = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["model"].metrics["accuracy"] > 0.85
