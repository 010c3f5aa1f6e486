"""Points at which tests step in."""

import re
from pathlib import Path
from typing import get_args

import pytest

import jbatch
from jbatch.testing import Point, at, point


def test_every_point_is_passed_in_one_place_and_no_other_is():
    sources = "\n".join(path.read_text() for path in Path(jbatch.__file__).parent.rglob("*.py"))
    assert sorted(re.findall(r'\bpoint\("(.*?)"', sources)) == sorted(get_args(Point))


def test_a_name_that_no_point_has_is_refused():
    for use in (point, lambda name: at(name, print)):
        with pytest.raises(KeyError, match="lunch"):
            use("lunch")


def test_a_point_is_armed_for_some_passings_or_each(monkeypatch):
    assert point("pass evaluated", 3) == 3
    monkeypatch.setattr("jbatch.testing._armed", {"pass evaluated": None})
    at("pass evaluated", lambda value: -value, 2)
    at("pass evaluated", lambda value: 10 * value, 3)
    assert [point("pass evaluated", value) for value in range(1, 5)] == [1, -2, 30, 4]
    at("pass evaluated", lambda value: value + 0.5)
    assert [point("pass evaluated", value) for value in (1, 2)] == [1.5, 2.5]
