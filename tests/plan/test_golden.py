"""Every experiment's printed plan, held as text: a review shows what a change does to it."""

from pathlib import Path

import pytest

from jbatch.plan.table import plan_text
from jbatch.run.reopen import load_experiment_file

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.py"))


def printed(path: Path) -> str:
    parts = []
    for name, variant in load_experiment_file(path).variants.items():
        decaying = variant.plan.decaying.plan()
        text = plan_text(variant.make_plan(), decaying, variant.adapts)
        parts.append(f"== {name} ==\n{text}")
    return "\n".join(parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_plans_are_as_printed(path, write_golden):
    golden = EXPERIMENTS / "golden" / f"{path.stem}.txt"
    if write_golden:
        golden.write_text(printed(path))
    assert printed(path) == golden.read_text(), "pytest --write-golden, if the change is meant"


def test_every_golden_file_has_its_experiment():
    golden = {path.stem for path in (EXPERIMENTS / "golden").glob("*.txt")}
    assert golden == {path.stem for path in FILES}
