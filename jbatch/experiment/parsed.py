"""Parse arguments with tyro, and say what is wrong with them as every other mistake is said."""

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import tyro

from jbatch.errors import LONGEST_SHOWN, Mistake, meant
from jbatch.experiment.flags import flags, meant_flag
from jbatch.upstream_words import (
    BAD_CHOICE,
    BAD_VALUE,
    MISSING,
    NO_TYPE,
    NO_VALUE,
    UNKNOWN,
)

KINDS = {  # tyro's names of kinds → words
    "INT": "a whole number",
    "FLOAT": "a number",
    "STR": "text",
    "PATH": "a path",
    "[INT [INT ...]]": "whole numbers with spaces between them",
    "[FLOAT [FLOAT ...]]": "numbers with spaces between them",
    "[STR [STR ...]]": "texts with spaces between them",
    "[FLOAT INT [FLOAT INT ...]]": "pairs of a number and a whole number",
}


def parsed(
    kind: Any,
    arguments: Sequence[str],
    usage: str = "jbatch",
    also: Iterable[str] = (),
    **how: Any,
) -> Any:
    """Call `tyro.cli`.

    Args:
        kind: what to make.
        arguments: of the command line.
        usage: of the verb, for messages.
        also: flags that are read elsewhere, for messages.
        how: other arguments of `tyro.cli`.

    Raises:
        Mistake: if it cannot be made of these arguments.
    """
    written = io.StringIO()
    try:
        with redirect_stderr(written), _unfolded():
            return tyro.cli(kind, args=arguments, prog=usage, **how)
    except SystemExit as end:
        if not end.code:  # it has printed help
            raise
        if (own := _own(end)) is not None:
            raise own from None
        known = (*also, *flags(how.get("default", kind)))
        raise Mistake(_said(written.getvalue(), usage, known)) from None


@contextmanager
def _unfolded() -> Iterator[None]:
    """Let tyro fold no line of a message."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _own(error: BaseException | None) -> Mistake | None:
    """Return the Mistake of a value's own check, which tyro has caught."""
    while error is not None and not isinstance(error, Mistake):
        error = error.__cause__ or error.__context__
    return error


def _said(box: str, usage: str, known: Sequence[str]) -> str:
    """Return tyro's message, which it draws in a box, in jbatch's words."""
    rows = [row.strip("│ ") for row in box.splitlines() if row and row[0] not in "╭╰"]
    rules = [n for n, row in enumerate(rows) if row and set(row) <= set("─-")]
    if rules and "╭" not in box:  # stdout is not UTF-8: a title and a rule, without lines around
        rows, rules = rows[rules[0] + 1 :], [n - rules[0] - 1 for n in rules[1:]]
    until = rules[0] if rules else len(rows)
    text, after = " ".join(" ".join(rows[:until]).split()), rows[until:]
    if UNKNOWN in rows:  # in a part of its own: beside an option that is missing, perhaps for it
        begins = rows.index(UNKNOWN) + 1
        ends = next((rule for rule in rules if rule > begins), len(rows))
        return _unknown(rows[begins:ends], known, usage)
    if found := re.match(UNKNOWN + " (.*)", text):
        return _unknown(found[1].split(", "), known, usage)
    if found := re.search(BAD_CHOICE, text):
        choices = found[3].replace("'", "").rstrip(",").split(", ")
        near = meant(found[1], choices)
        return f"{found[2]} is {found[1]}: give one of {', '.join(choices)}{near}"
    if found := re.search(NO_VALUE, text):
        return f"{found[1]} has no value: give one"
    if found := re.search(MISSING, text):
        return f"{found[1]} is missing: {usage}"
    if found := re.search(BAD_VALUE, text):
        return _bad_value(found, after)
    return f"{text or box.strip()} ({usage} --help lists the options)"


def _unknown(tokens: Sequence[str], known: Sequence[str], usage: str) -> str:
    name = next((token for token in tokens if token.startswith("-")), None)
    if name is None:
        return (
            f"{' '.join(tokens)}: this is no option; give options as --NAME VALUE, and those for "
            "yes or no as --NAME alone"
        )
    near = meant_flag(name, known)
    called = re.sub(r" ((FILE|DIR|NAME|SHELL)\b|--).*", "", usage)
    return f"there is no option {name}{near} ({called} --help lists them)"


def _bad_value(found: re.Match[str], after: list[str]) -> str:
    # tyro shows the option with the kind of its value below: "--seed INT".
    name, why = found[1].split("/")[0], found[2]
    shown = next((row for row in after if row.startswith(name)), "")
    kind = shown.partition(" ")[2]
    # The whole value, or in Python's own errors its part that does not fit.
    given = re.search(NO_TYPE, why) or re.search(r"'([^']*)'$", why)
    if not given or not kind:
        return f"{name}: {why}"
    value = given[1].replace("', '", " ").strip("'\"")
    value = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"
    return f"{name} is {value}: give {_kind(kind)}"


def _kind(metavar: str) -> str:
    """Say tyro's name of a kind in words: "{None}|INT" is "a whole number or None"."""
    parts = metavar.split("|")
    parts = [part.strip("{}") if part.startswith("{[") else part for part in parts]
    names = [KINDS.get(part, part) for part in parts if part != "{None}"]
    return " or ".join(names + ["None"] * ("{None}" in parts))
