"""What the README and the docs say is so."""

import re
from pathlib import Path

from jbatch.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_tree_names_every_file():
    tree = README[README.index("## The tree") : README.index("| to change |")]
    files = [*ROOT.glob("jbatch/**/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("docs/*.md")]
    verbs = {path.stem for path in ROOT.glob("jbatch/cli/*.py")} - {"arguments", "libraries"}
    missing = [
        path.name
        for path in files
        if path.name not in tree and not path.name.startswith("__") and path.stem not in verbs
    ]
    assert missing == []
    named = set(re.findall(r"[a-z_0-9]+\.(?:py|md|jinja)", tree))
    here = {
        path.name
        for folder in ("jbatch", "benchmarks", "tests", "docs")
        for path in (ROOT / folder).rglob("*")
    }
    assert {name for name in named if name not in here and name != "html.jinja"} == set()


def test_links_lead_somewhere():
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_printed_plan_is_what_is_printed(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    command, shown = re.search(r"\$ jbatch (plan .*)\n((?:.*\n)*?)```", README).groups()
    assert main(command.split()) == 0
    assert capsys.readouterr().out == shown


def test_the_example_of_a_loop_of_ones_own_runs():
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    values = {}
    exec(example, values)
    assert values["row"].update == values["plan"].num_updates - 1


def test_updates_of_the_readmes_first_table_are_the_plans():
    table = README[README.index("| data | schedule |") : README.index("A network of 34")]
    rows = re.findall(r"^\| *([\w-]*) *\| (?:control: )?(\w+).*?\|.*?\| ([\d,]+) \|", table, re.M)
    golden, checked = "", 0
    for data, schedule, updates in rows:
        file = {"Fashion-MNIST": "fashion_mnist", "CIFAR-10": "small_cifar10"}.get(data)
        if file:
            golden = (ROOT / "experiments" / "golden" / f"{file}.txt").read_text()
        name = {"rate": "both"}.get(schedule, schedule)
        plan = golden[golden.index(f"== {name} ==") :]
        assert re.search(r"^([\d,]+) updates;", plan, re.MULTILINE)[1] == updates
        checked += 1
    assert checked == 10


def test_the_example_of_photographs_is_an_experiment():
    [example] = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL
    )
    values = {}
    exec(example, values)
    plan = values["variants"]["growing"].plan.plan()
    assert plan.warnings == ()
    assert plan.phases[-1].batch_size == 896
