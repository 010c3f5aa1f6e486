"""Turning a text into files of tokens."""

from collections.abc import Mapping
from pathlib import Path

from jbatch.data.text import bins
from jbatch.data.text.encode import encoded
from jbatch.data.text.tokenizer import Tokenizer
from jbatch.errors import Mistake
from jbatch.files import expanded


def prepare_text(
    source: Path, to: Path, tokenizer: str, held_out: float
) -> tuple[Tokenizer, Mapping[str, int]]:
    """Write a text as the folder `to`: train.bin, test.bin and tokens.json, which `Tokens` reads.

    Args:
        source: a text file, UTF-8 unless the tokens are bytes.
        to: a new folder. It appears whole, or not at all.
        tokenizer: characters, bytes, or the path of a Hugging Face tokenizer.json.
        held_out: the share at the text's end that becomes test.bin.

    Returns:
        The tokenizer, and the number of tokens of each split.

    Raises:
        Mistake: if the folder exists, or a file cannot be read.
    """
    source, to = expanded(source), expanded(to)
    if source.suffix == ".bin" or source.is_dir():
        raise Mistake(
            f"{source} is no text file: give the text itself. `Tokens` reads a .bin file or a "
            "prepared folder as it is"
        )
    bins.check_new(to)
    found, parts = encoded({"train": source}, tokenizer, held_out)
    for split, part in parts.items():
        if len(part.tokens) < 2:
            raise Mistake(
                f"the {split} part of {source} has {len(part.tokens)} tokens: give a longer text, "
                "or another --held-out"
            )
    bins.write(to, found, parts)
    return found, {split: len(part.tokens) for split, part in parts.items()}
