"""`jbatch completion`: verbs, options, variants and paths at the Tab key."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from jbatch.cli import VERBS
from jbatch.errors import Mistake, meant
from jbatch.experiment.named import variants_of
from jbatch.files import expanded, read_whole
from jbatch.messages import show

# A Tab key that asks for variants waits for this: what takes long to import is imported below.

SHELLS = ("bash", "zsh", "fish")
USAGE = "jbatch completion SHELL"
WITH_FIELDS = ("plan", "check", "train", "compare", "sweep", "bench")  # of experiments
OWN_PARTS = ("--task", "--data", "--init", "--adaptive")
MOST_CODE = 1 << 20  # bytes


@dataclass(frozen=True)
class Options:
    """Print a script that completes verbs, options, variants and paths, for bash, zsh or fish.

    Shells read it at their start, from these places:
      bash  jbatch completion bash > ~/.local/share/bash-completion/completions/jbatch
      fish  jbatch completion fish > ~/.config/fish/completions/jbatch.fish
      zsh   jbatch completion zsh > ~/.jbatch.zsh; and in ~/.zshrc, after compinit:
            autoload -Uz bashcompinit && bashcompinit && source ~/.jbatch.zsh

    The script holds the options of this version. For the variants of a file it calls
    jbatch completion variants FILE, which reads the file's text and does not run it.

    For example: source <(jbatch completion bash)
    """


def run(arguments: Sequence[str]) -> None:
    """Print a script, or the variants of a file."""
    if arguments[:1] == ["variants"] and len(arguments) == 2:
        if names := variants_of(_text(expanded(Path(arguments[1])))):
            show("\n".join(names))
        return

    from jbatch.cli.arguments import leading, read_options
    from jbatch.cli.help import print_help, wants_help

    names, rest = leading(arguments)
    if wants_help(rest):
        print_help(Options, USAGE)
    if len(names) != 1 or names[0] not in SHELLS:
        near = meant(names[0], SHELLS) if names else ""
        raise Mistake(f"give bash, zsh or fish{near}: {USAGE}")
    read_options(Options, rest, USAGE)
    show(_script(names[0]))


def _text(path: Path) -> str:
    """Return a file's text, or "" if it has none: a Tab key gets no messages."""
    try:
        return read_whole(path, most=MOST_CODE).decode()
    except (OSError, Mistake, ValueError):
        return ""


def _script(shell: str) -> str:
    """Return the script, with the verbs and options of this version."""
    name = "fish" if shell == "fish" else "bash"
    text = files("jbatch.cli").joinpath(f"completion_{name}.txt").read_text(encoding="utf-8")
    table = "\n".join(" ".join((verb, *options_of(verb))) for verb in VERBS)
    return text.replace("TABLE", table).rstrip()


def options_of(verb: str) -> list[str]:
    """Return a verb's options, with the fields that every experiment has if it takes fields."""
    from jbatch.cli import prepare_text
    from jbatch.experiment.experiment import Coupling, Experiment
    from jbatch.experiment.flags import flags

    found = ["--help", *flags(import_module(f"jbatch.cli.{verb}").Options)]
    if verb == "prepare":
        found += flags(prepare_text.Options)
    if verb in WITH_FIELDS:
        every = Experiment(Coupling(lambda _: 0.1, num_epochs=1, batch_size=1))
        # Of the task, the data and so on, each experiment has fields of its own.
        fields = (name for name in flags(every) if name.startswith("--plan.") or "." not in name)
        refused = (*OWN_PARTS, "--seed" if "--seeds" in found else "")
        found += [name for name in fields if name not in refused]
    return list(dict.fromkeys(found))
