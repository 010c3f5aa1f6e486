"""`jbatch prepare text`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jbatch.cli.arguments import read_options
from jbatch.cli.help import print_help, wants_help
from jbatch.errors import Mistake, share
from jbatch.messages import show

USAGE = "jbatch prepare text --from PATH --to FOLDER"


@dataclass(frozen=True)
class Options:
    """Write a text as a folder of tokens: train.bin, test.bin, and tokens.json beside them.

    tokens.json holds the vocabulary or the tokenizer. Tokens(FOLDER, sequence=…) in an experiment
    reads the folder.

    For example: jbatch prepare text --from input.txt --to data/shakespeare
    """

    source: Annotated[Path, tyro.conf.arg(name="from")]
    """The text file, in UTF-8 unless the tokens are bytes."""
    to: Path
    """The folder to write; it must be new."""
    tokenizer: str = "characters"
    """What a token is: characters, bytes, or the path of a Hugging Face tokenizer.json."""
    held_out: float = 0.1
    """The share at the end of the text that becomes test.bin."""

    def __post_init__(self) -> None:
        if not share("--held-out", self.held_out) > 0:
            raise Mistake(f"--held-out is {self.held_out}: give a share over 0, such as 0.1")


def run(arguments: Sequence[str]) -> None:
    """Write the folder, and print how an experiment names it."""
    if wants_help(arguments):
        print_help(Options, USAGE)
    options = read_options(Options, arguments, USAGE)

    from jbatch.prepare.text import prepare_text

    tokenizer, counts = prepare_text(
        options.source, options.to, options.tokenizer, options.held_out
    )
    tokens = " and ".join(f"{count:,} {split}" for split, count in counts.items())
    show(f"{options.to}: {tokens} tokens, {tokenizer.size:,} different ones")
    show(f'In an experiment: Tokens("{options.to}", sequence=1024)')
