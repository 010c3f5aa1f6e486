"""Marking single cases of a test."""

import pytest


def slow(*values):
    """A case that runs with `-m slow` only, where others of its kind run by default."""
    return pytest.param(*values, marks=pytest.mark.slow)
