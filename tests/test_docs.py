"""The README and the docs agree with the program."""

import re
from pathlib import Path

from jbatch.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"))


def anchors(document: Path) -> set[str]:
    """The name that GitHub gives to each heading."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r'(?:\]\(|src=")(?!http)([^)"]+)', document.read_text()):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), f"{document.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{document.name}: {link}"


def test_every_test_that_a_promise_names_is_there():
    """By its file and name; a second one in a row may leave the file out."""
    found, file = 0, ""
    promises = (ROOT / "docs" / "reliability.md").read_text()
    for named, test in re.findall(r"`([\w/]+\.py)?::(\w+)", promises):
        file = named or file
        code = (ROOT / "tests" / file).read_text()
        assert re.search(rf"(def|class) {test}\b", code), f"{file}::{test}"
        found += 1
    assert found > 50


def test_the_printed_plan_is_what_is_printed(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    command, shown = re.search(r"\$ jbatch (plan .*)\n((?:.*\n)*?)```", README).groups()
    assert main(command.split()) == 0
    assert capsys.readouterr().out == shown


def test_the_example_of_a_loop_of_ones_own_runs():
    values = run_first_example(README)
    assert values["row"].update == values["plan"].num_updates - 1


def test_updates_in_the_results_are_those_of_the_plans():
    shown = ("fashion_mnist", "small_cifar10", "cifar10_short")
    golden = [ROOT / "experiments" / "golden" / f"{name}.txt" for name in shown]
    plans = "\n".join(path.read_text() for path in golden)
    rows = [line.split(" | ") for line in README.splitlines() if line[0:1] == "|" and "±" in line]
    assert len(rows) == 14
    for row in rows:
        assert f"\n{row[2]} updates; with the batch kept" in plans, row


def test_the_example_of_photographs_is_an_experiment():
    values = run_first_example((ROOT / "docs" / "data.md").read_text())
    plan = values["variants"]["growing"].plan.plan()
    assert plan.warnings == ()
    assert plan.phases[-1].batch_size == 896


def run_first_example(text: str) -> dict:
    """The values of the first block of Python in a document, which is run."""
    values = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], values)
    return values
