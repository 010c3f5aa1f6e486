"""The README and the docs agree with the program."""

import re
from configparser import ConfigParser
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

import jbatch
from jbatch.cli import main
from jbatch.trackers.named import TRACKERS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))


def tokens(document: Path):
    """The document's Markdown, its inline parts included."""
    for token in MarkdownIt().enable("table").parse(document.read_text()):
        yield token
        yield from token.children or ()


def blocks(document: Path, language: str) -> list[str]:
    """The contents of the code blocks in a language."""
    return [
        each.content for each in tokens(document) if each.type == "fence" and each.info == language
    ]


def anchors(document: Path) -> set[str]:
    """The name that GitHub gives to each heading."""
    found = list(tokens(document))
    headings = [text.content for mark, text in pairwise(found) if mark.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Sources(HTMLParser):
    """The files that a document's own HTML shows."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name == "src"]


def links(document: Path) -> list[str]:
    """Where a document links to, and the images that it shows."""
    html, found = Sources(), []
    for token in tokens(document):
        if token.type in ("link_open", "image"):
            found.append(token.attrs.get("href") or token.attrs.get("src"))
        if token.type.startswith("html"):
            html.feed(token.content)
    return found + html.found


def test_links_lead_somewhere():
    assert sum(len(links(document)) for document in DOCUMENTS) > 80
    for document in DOCUMENTS:
        for link in links(document):
            path, _, anchor = link.partition("#")
            if path.startswith("http"):
                continue
            target = document.parent / path if path else document
            assert target.exists(), f"{document.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{document.name}: {link}"


def test_versions_and_pythons_are_the_same_everywhere():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    classifiers = setup["metadata"]["classifiers"]
    pythons = re.findall(r"Python :: (\d\.\d+)", classifiers)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["checks"]["strategy"]["matrix"]["python"] == pythons
    assert setup["options"]["python_requires"] == f">={pythons[0]}"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == jbatch.__version__
    assert set(TRACKERS) <= set(setup["options.extras_require"])


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
    [(command, shown)] = [
        text.removeprefix("$ jbatch ").split("\n", 1)
        for text in blocks(README, "text")
        if text.startswith("$ jbatch plan ")
    ]
    assert main(command.split()) == 0
    assert capsys.readouterr().out == shown


def test_the_example_of_a_loop_of_ones_own_runs():
    values = run_first_example(README)
    assert values["row"].update == values["plan"].num_updates - 1


def test_updates_in_the_results_are_those_of_the_plans():
    shown = ("fashion_mnist", "small_cifar10", "cifar10_short", "cifar10_94")
    golden = [ROOT / "experiments" / "golden" / f"{name}.txt" for name in shown]
    plans = "\n".join(path.read_text() for path in golden)
    rows = [
        line.split(" | ")
        for line in README.read_text().splitlines()
        if line[0:1] == "|" and "±" in line
    ]
    assert len(rows) == 16
    for row in rows:
        assert f"\n{row[2]} updates; with the batch kept" in plans, row


def test_the_example_of_photographs_is_an_experiment():
    values = run_first_example(ROOT / "docs" / "data.md")
    plan = values["variants"]["growing"].plan.plan()
    assert plan.warnings == ()
    assert plan.phases[-1].batch_size == 896


def test_the_example_in_tokens_runs():
    values = run_first_example(ROOT / "docs" / "plans.md")
    assert [phase.batch_size for phase in values["plan"].phases] == [512, 1024, 2048, 4096]
    assert values["row"].update == len(values["plan"]) - 1


def test_the_example_of_a_text_is_an_experiment():
    values = run_first_example(ROOT / "docs" / "language.md")
    assert values["variants"]["grow"].data.sequence == 64


def test_the_ramps_that_the_page_shows_are_taken():
    page = (ROOT / "docs" / "plans.md").read_text()
    shown = re.findall(r"`ramp=(.*?)`", page)
    assert len(shown) == 7
    for text in shown:
        ramp = eval(text, {"jbatch": jbatch})
        last = 1024 if isinstance(ramp, str) and ":" not in ramp else None
        plan = jbatch.couple(
            lambda _: 0.1,
            unit="tokens",
            sequence_length=4096,
            length=1e12,
            ramp=ramp,
            max_batch_size=last,
        )
        assert len(plan.phases) > 1


def run_first_example(document: Path) -> dict:
    """The values of the first block of Python in a document, which is run."""
    values = {}
    exec(blocks(document, "python")[0], values)
    return values
