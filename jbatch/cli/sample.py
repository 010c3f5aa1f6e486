"""`jbatch sample`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jbatch.cli.arguments import RunsCode, run_directory
from jbatch.errors import Mistake, not_negative, whole
from jbatch.messages import show
from jbatch.run.libraries import prepare_libraries

USAGE = "jbatch sample DIR"


@dataclass(frozen=True)
class Options(RunsCode):
    """Continue a text with a run's language model; the same command prints the same text.

    For example: jbatch sample runs/shakespeare/cosine/seed-0 --prompt "ROMEO:"
    """

    prompt: Annotated[str, tyro.conf.arg(help_behavior_hint="(default: a line break)")] = "\n"
    """The text's beginning."""
    tokens: int = 200
    """Number of tokens to add."""
    temperature: float = 0.8
    """Below 1: likelier tokens more often; 0: always the likeliest."""
    top_k: int | None = None
    """Draw from the so many likeliest tokens. None: from all."""
    seed: int = 0
    """Seed of the draws."""
    step: str = "last"
    """The checkpoint: last, best, or its number of examples."""

    def __post_init__(self) -> None:
        whole("--tokens", self.tokens)
        not_negative("--temperature", self.temperature)
        if self.top_k is not None:
            whole("--top-k", self.top_k)
        whole("--seed", self.seed, least=0, most=2**32 - 1)
        if self.step not in ("last", "best") and not self.step.isdecimal():
            raise Mistake(f"--step is {self.step}: give last, best, or a number of examples")


def run(arguments: Sequence[str]) -> None:
    """Print the prompt and what follows."""
    directory, options = run_directory(arguments, USAGE, Options)

    from jbatch.run.sample import sample
    from jbatch.run.trained import load

    prepare_libraries()
    step = int(options.step) if options.step.isdecimal() else options.step
    model = load(directory, step, trusted=options.trust)  # type: ignore[arg-type]  # checked above
    text = sample(
        model,
        options.prompt,
        tokens=options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
    )
    show(options.prompt + text)
