"""Text files as tokens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbatch.data.text.tokenizer import Bytes, Ids, Tokenizer, tokenizer_of
from jbatch.errors import Mistake
from jbatch.files import MOST_READ, expanded, read_whole
from jbatch.text import byte_size


class Part(NamedTuple):
    """The tokens of a text."""

    tokens: Ids  # (T,) uint16, or uint32 if the vocabulary is larger
    num_bytes: int  # of the text in UTF-8


def encoded(
    paths: Mapping[str, Path], name: str, held_out: float
) -> tuple[Tokenizer, dict[str, Part]]:
    """Read text files, and return their tokenizer and the tokens of each split.

    Args:
        paths: split → file. Without a test split, the end of the train split becomes it.
        name: of the tokenizer, see `tokenizer_of`.
        held_out: the share of the training text that becomes the test split.

    Raises:
        Mistake: if a file is missing, empty, too large, or not UTF-8.
    """
    # As bytes or as text: both have a length, and can be cut.
    contents: dict[str, Any] = {split: _read(expanded(path)) for split, path in paths.items()}
    if name != "bytes":
        contents = {split: _text(paths[split], content) for split, content in contents.items()}
    tokenizer = tokenizer_of(name, contents.values())
    if "test" not in contents:
        whole = contents["train"]
        cut = int(len(whole) * (1 - held_out))
        contents |= {"train": whole[:cut], "test": whole[cut:]}
    dtype = number_type(tokenizer.size)
    parts = {}
    for split, content in contents.items():
        if isinstance(tokenizer, Bytes):
            parts[split] = Part(np.frombuffer(content, np.uint8).astype(dtype), len(content))
        else:
            parts[split] = Part(tokenizer.encode(content).astype(dtype), len(content.encode()))
    return tokenizer, parts


def number_type(vocabulary: int) -> type[np.unsignedinteger[Any]]:
    """Return the smaller of uint16 and uint32 that holds every token of a vocabulary."""
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


def _read(path: Path) -> bytes:
    if ".array_record" in path.name:
        raise Mistake(
            f"{path} is an ArrayRecord file, which Tokens does not read: give a Source of its "
            "records (docs/language.md), or a text or .bin file"
        )
    try:
        content = read_whole(path)
    except OSError as error:
        raise Mistake(
            f"{path} cannot be read ({error.strerror or error}): give a text file of at most "
            f"{byte_size(MOST_READ)}"
        ) from error
    if not content:
        raise Mistake(f"{path} is empty: give a file with text")
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Mistake(
            f"{path} is not UTF-8 (at byte {error.start:,}): convert it, or take bytes as tokens "
            '(tokenizer="bytes", or --tokenizer bytes)'
        ) from error
