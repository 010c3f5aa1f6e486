"""What a token is: a byte, a character, or a piece of text that a tokenizer has learned."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from jbatch.errors import Mistake, meant, said, shown
from jbatch.files import expanded, read_whole

Ids = npt.NDArray[np.integer]  # (T,)


class Bytes(Struct, frozen=True, tag="bytes"):
    """Every byte of the UTF-8 text is a token."""

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary."""
        return 256

    def encode(self, text: str) -> Ids:
        """Return the tokens of a text."""
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; bytes that are no UTF-8 become �."""
        return bytes(tokens).decode("utf-8", "replace")


class Characters(Struct, frozen=True, tag="characters"):
    """Every character is a token."""

    characters: str
    """The vocabulary, in order of code point."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Characters":
        """Return the vocabulary of some texts: each character in them."""
        return cls("".join(sorted(set().union(*texts))))

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary."""
        return len(self.characters)

    def encode(self, text: str) -> Ids:
        """Return the tokens of a text; raise Mistake for a character that is none."""
        known, given = _code_points(self.characters), _code_points(text)
        found = np.searchsorted(known, given)
        missing = np.flatnonzero(known[np.minimum(found, len(known) - 1)] != given)
        if len(missing):
            character = text[int(missing[0])]
            raise Mistake(
                f"the character {shown(character)} is none of the {self.size} in the training "
                'text: leave it out, or train with tokenizer="bytes"'
            )
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return "".join(self.characters[token] for token in tokens)


class Learned(Struct, frozen=True, tag="tokenizers"):
    """A tokenizer of the library tokenizers (Hugging Face), such as byte-pair encoding."""

    definition: str
    """The content of its tokenizer.json."""

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary: one more than the largest."""
        largest: int = max(_library(self.definition).get_vocab().values())
        return largest + 1

    def encode(self, text: str) -> Ids:
        """Return the tokens of a text, without special tokens around it."""
        encoding = _library(self.definition).encode(text, add_special_tokens=False)
        return np.asarray(encoding.ids, np.uint32)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        text: str = _library(self.definition).decode(list(tokens), skip_special_tokens=False)
        return text


Tokenizer = Bytes | Characters | Learned


def tokenizer_of(name: str, texts: Iterable[str]) -> Tokenizer:
    """Return a tokenizer by name: "bytes", "characters" (those of the texts), or a file's path.

    Raises:
        Mistake: if the file cannot be read, or is no tokenizer.
    """
    if name == "bytes":
        return Bytes()
    if name == "characters":
        return Characters.of(texts)
    path = expanded(Path(name))
    try:
        found = Learned(read_whole(path).decode())
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or said(error)
        raise Mistake(
            f"tokenizer is {name}, which cannot be read ({why}): give bytes, characters, or the "
            f"tokenizer.json of a Hugging Face tokenizer{meant(name, ('bytes', 'characters'))}"
        ) from error
    try:
        _ = found.size
    except Mistake:
        raise
    except Exception as error:  # of the library, any error
        raise Mistake(
            f"{path} is no tokenizer of the library tokenizers ({said(error)}): give its "
            "tokenizer.json"
        ) from error
    return found


@lru_cache(4)
def _library(definition: str) -> Any:
    try:
        from tokenizers import Tokenizer as Loaded
    except ImportError as error:
        raise Mistake(
            "this text's tokenizer needs the library tokenizers, which is not installed: pip "
            "install tokenizers"
        ) from error
    return Loaded.from_str(definition)


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
