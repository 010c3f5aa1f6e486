"""Every public name has an example, and every example of a docstring runs."""

import doctest
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import jbatch
from jbatch.trackers.named import TRACKERS
from marks import slow

PACKAGE = Path(jbatch.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text()
)
TRAIN = {
    f"jbatch.{name}"
    for name in ("run.loop", "run.sample", "run.trained", "study.from_python", "study.probe")
}

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_every_public_name_has_one():
    types = {"Normalize"}  # a Literal, which has no docstring when the program runs
    without = {
        name for name in jbatch.__all__ if ">>>" not in (getattr(jbatch, name).__doc__ or "")
    }
    assert without == types


@pytest.mark.parametrize("module", [slow(each) if each in TRAIN else each for each in MODULES])
def test_they_run(module, tmp_path, monkeypatch):
    if (library := module.rpartition(".")[2]) in TRACKERS:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(
        import_module(module),
        extraglobs={"jbatch": jbatch, "np": np},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert result.attempted
    assert not result.failed
