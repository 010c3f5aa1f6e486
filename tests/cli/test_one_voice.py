"""Mistakes in options are said as all others are, though another library finds them."""

import pytest

from commands import TINY

SAID = {
    (
        "train",
        TINY,
        "growing",
        "--until-phase",
        "x",
    ): "--until-phase is x: give a whole number or None",
    (
        "train",
        TINY,
        "growing",
        "--seed",
        "1",
        "3",
    ): "3: this is no option; give options as --NAME V",
    (
        "train",
        TINY,
        "growing",
        "--task.dtype",
        "bf16",
    ): "dtype is bf16: give one of float32, bfloat16",
    ("plan", TINY, "growing", "--seed"): "--seed has no value: give one",
    ("plan", TINY, "growing", "--plan.batch-sizes", "8", "x"): "is 8 x: give whole numbers with s",
    ("plan", TINY, "growing", "--plan.ramp", "1", "2", "3"): "give pairs of a number and a whole n",
    ("plan", TINY, "growing", "--plan.rate", "fast"): "--plan.rate is fast: give a number",
    ("plan", TINY, "growing", "--zzz", "4"): f"no option --zzz (jbatch plan {TINY} growing --help ",
    ("plan", TINY, "growing", "--plan.num-examples", "9" * 5000): f"is {'9' * 99}",
    ("sharpness", "a", "--epsilon", "3"): "--epsilon is 3: give at most 1, for example 1e-3",
    ("sharpness", "a", "--epsilon", "x"): "--epsilon is x: give numbers with spaces between them",
    ("export", "a"): "--to is missing: jbatch export DIR --to weights.safetensors|TRACKER",
    ("report", "a", "--foo"): "there is no option --foo (jbatch report --help lists them)",
    ("runs",): "give one directory first, not 0",
    **{(verb,): "give an experiment file first: " for verb in ("train", "compare", "sweep")},
    ("prepare", "cifar10", "--form", "x"): "there is no option --form; did you mean --from?",
    ("plan", TINY, "growing", "--batch-size", "4"): "did you mean --plan.batch-size?",
    ("plan", TINY, "growing", "--device", "4"): "no option --device; did you mean --devices?",
    ("plan", TINY, "growing", "--lr", "4"): "no option --lr; the schedule is in the file, and --pl",
    ("plan", TINY, "growing", "--plan.unit", "epoch"): "updates; did you mean epochs?",
}


@pytest.mark.parametrize("arguments", SAID)
def test_a_mistake_is_one_line_of_jbatch(arguments, jbatch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    code, out, err = jbatch(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("jbatch: ")
    assert err.count("\n") == 1
    assert SAID[arguments] in err
    assert len(err) < 400 + len(str(TINY))


@pytest.mark.parametrize("arguments", [(), ("train",), ("plan", TINY, "growing"), ("runs",)])
def test_help_has_no_colours_where_none_are_wanted(arguments, jbatch, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    code, out, _ = jbatch(*arguments, "--help")
    assert code == 0
    assert out
    assert "\x1b" not in out
    assert not arguments or "--" in out


@pytest.mark.parametrize("arguments", [("train",), ("train", TINY, "growing")])
def test_help_is_folded_at_the_terminal_s_width_alone(arguments, jbatch, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = jbatch(*arguments, "--help")[1].splitlines()
    assert max(map(len, lines)) <= 80
    begins = next(n for n, line in enumerate(lines) if "Take the batch sizes from" in line)
    cells = [line.strip("│ ") for line in lines[begins : begins + 3]]
    # No line ends where the source's does, after "a fixed".
    assert not any(cell.endswith("becomes a fixed") for cell in cells)
    assert "what it has decided becomes a fixed plan (docs/adaptive.md)." in " ".join(cells)


def test_without_a_verb_it_says_what_to_do_first(jbatch):
    code, out, err = jbatch()
    assert (code, err) == (2, "")
    assert "jbatch new my_experiment.py" in out
    assert "jbatch --help" in out
    assert out.count("\n") < 12


def test_help_lists_every_verb_and_exit_code(jbatch):
    code, out, _ = jbatch("--help")
    assert code == 0
    for verb in ("new", "train", "runs", "export", "bench"):
        assert f"\n  {verb} " in out
    for exit_code in (0, 1, 2, 3, 75, 130):
        assert f"\n  {exit_code:<3} " in out
