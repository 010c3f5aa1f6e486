"""Opening the splits of a text: encoded in memory, or mapped from .bin files."""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from jbatch.data.text import bins
from jbatch.data.text.encode import Part, encoded
from jbatch.data.text.tokenizer import Characters, Ids, Tokenizer, tokenizer_of
from jbatch.data.text.tokens import Tokens
from jbatch.errors import Mistake
from jbatch.files import expanded

Stamp = tuple[int, int, int] | None

READ_WHOLE = 1 << 28  # tokens; of a longer file, pieces are hashed and checked at the start
PIECES, PIECE = 1024, 1 << 12  # of tokens, evenly spaced


@dataclass(frozen=True, eq=False)
class Split:
    """The tokens of one split."""

    name: str  # in messages
    tokens: Ids  # (T,)
    vocabulary: int
    bytes_per_token: float | None  # None if the size of the text is not known

    def check(self, tokens: Ids) -> None:
        """Raise Mistake if some of its tokens are over the vocabulary."""
        check_tokens(self.name, tokens, self.vocabulary)

    def pieces(self) -> list[Ids]:
        """Return all tokens, or parts of a long text that stand for it."""
        if len(self.tokens) <= READ_WHOLE:
            return [self.tokens]
        starts = np.linspace(0, len(self.tokens) - PIECE, PIECES).astype(np.int64).tolist()
        return [self.tokens[start : start + PIECE] for start in starts]


@dataclass(frozen=True, eq=False)
class Corpus:
    """All splits of a text."""

    splits: dict[str, Split]  # train, test and perhaps validation
    tokenizer: Tokenizer | None  # None if only the numbers are known

    def digest(self, evaluated: str) -> str:
        """Hash the training split, one other split and the tokenizer (SHA-256)."""
        hashed = hashlib.sha256(msgspec.json.encode(self.tokenizer))
        for name in ("train", evaluated):
            split = self.splits[name]
            hashed.update(f"{len(split.tokens)} of {split.vocabulary}".encode())
            for piece in split.pieces():
                hashed.update(np.ascontiguousarray(piece, np.uint32).data)
        return hashed.hexdigest()


def check_tokens(what: str, tokens: npt.NDArray[np.integer], vocabulary: int) -> None:
    """Raise Mistake if a token is outside of the vocabulary: JAX would read another's row."""
    if tokens.size and not (tokens.min() >= 0 and tokens.max() < vocabulary):
        outside = tokens[(tokens < 0) | (tokens >= vocabulary)]
        raise Mistake(
            f"{what}: the token {int(outside.flat[0]):,} is not within the vocabulary (0 to "
            f"{vocabulary - 1:,}): correct vocabulary (num_classes of other data) and dtype, or "
            "give the text of this tokenizer"
        )


def check_examples(what: str, examples: Any, vocabulary: int) -> None:
    """Raise Mistake for a token outside of the vocabulary, or an impossible count.

    Args:
        what: "training" or "test".
        examples: "tokens" (n, T + 1), and perhaps "count" (n,), of predicted tokens.
        vocabulary: number of different tokens.
    """
    tokens = examples["tokens"]
    check_tokens(f"the {what} tokens", tokens, vocabulary)
    count, most = examples.get("count", np.zeros(0, np.int32)), tokens.shape[1] - 1
    if count.size and not (count.min() >= 0 and count.max() <= most):
        raise Mistake(
            f"the {what} counts go from {count.min():,} to {count.max():,}: give how many tokens "
            f"of an example are predicted, 0 to {most:,}"
        )


def opened(data: Tokens) -> Corpus:
    """Open all splits of a text.

    Raises:
        Mistake: if a file is missing, damaged, too short, or of another tokenizer.
    """
    train = expanded(data.train)
    folder = train.is_dir()
    if folder and not (train / "train.bin").exists():
        raise Mistake(
            f"{train} is no folder of `jbatch prepare text` (it has no train.bin): give one, or a "
            "file"
        )
    paths = {"train": train / "train.bin" if folder else train}
    if data.test is not None:
        paths["test"] = expanded(data.test)
    elif folder:
        paths["test"] = train / "test.bin"
    if data.validation is not None:
        paths["validation"] = expanded(data.validation)
    of_tokens = {path.suffix == ".bin" for path in paths.values()}
    if len(of_tokens) > 1:
        named = ", ".join(map(str, paths.values()))
        raise Mistake(f"some of {named} are .bin files and some are not: give files of one kind")
    corpus = _mapped(data, paths) if of_tokens == {True} else _read(data, paths)
    for name, split in corpus.splits.items():
        least = 2 * data.sequence if name == "train" else 2
        if len(split.tokens) < least:
            raise Mistake(
                f"{split.name} has {len(split.tokens):,} tokens, but at least {least:,} are "
                f"needed with a sequence of {data.sequence:,}: give a longer text, or a smaller "
                "sequence"
            )
        for piece in split.pieces():
            split.check(piece)
    return corpus


def _read(data: Tokens, paths: dict[str, Path]) -> Corpus:
    """Encode text files."""
    name = data.tokenizer or "characters"
    files = tuple((split, path, _stamp(path)) for split, path in paths.items())
    tokenizer, parts = _encoded(files, name, _stamp(expanded(Path(name))), data.held_out)
    vocabulary = _vocabulary(data, tokenizer)
    splits = {
        name: Split(
            str(paths.get(name, _end_of(paths))),
            part.tokens,
            vocabulary,
            part.num_bytes / max(len(part.tokens), 1),
        )
        for name, part in parts.items()
    }
    return Corpus(splits, tokenizer)


@lru_cache(1)
def _encoded(
    files: tuple[tuple[str, Path, Stamp], ...], name: str, stamp: Stamp, held_out: float
) -> tuple[Tokenizer, dict[str, Part]]:
    """Encode text files once: a start asks for their number of windows, and then for these.

    The stamps tell whether a file has changed since.
    """
    del stamp
    tokenizer, parts = encoded({split: path for split, path, _ in files}, name, held_out)
    for part in parts.values():
        part.tokens.setflags(write=False)  # others see them too
    return tokenizer, parts


def _stamp(path: Path) -> Stamp:
    """Return what changes with a file; None if there is none, which reading it reports."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _mapped(data: Tokens, paths: dict[str, Path]) -> Corpus:
    """Map .bin files, and check that they are what tokens.json beside them says."""
    train = paths["train"]
    first = bins.beside(train)
    tokenizer = first.tokenizer if first else _given(data, train)
    if first and data.tokenizer is not None and not _is(first.tokenizer, data.tokenizer):
        raise Mistake(
            f"{train} was written with another tokenizer than {data.tokenizer}: leave tokenizer "
            "out, as tokens.json beside it has it"
        )
    vocabulary = _vocabulary(data, tokenizer, first.vocabulary if first else None)
    splits = {}
    for name, path in paths.items():
        tokens, said = bins.mapped(path, first.dtype if first else data.dtype), bins.beside(path)
        if (said and said.tokenizer) != (first and first.tokenizer):
            raise Mistake(
                f"{path} and {train} have different tokenizers (tokens.json): write both with one, "
                "`jbatch prepare text … --tokenizer FILE`"
            )
        ratio = None if said is None else bins.bytes_per_token(path, said, len(tokens))
        splits[name] = Split(str(path), tokens, vocabulary, ratio)
    if "test" not in splits:
        whole = splits["train"]
        cut = int(len(whole.tokens) * (1 - data.held_out))
        splits["train"] = replace(whole, tokens=whole.tokens[:cut])
        splits["test"] = replace(whole, name=_end_of(paths), tokens=whole.tokens[cut:])
    return Corpus(splits, tokenizer)


def _end_of(paths: dict[str, Path]) -> str:
    return f"the end of {paths['train']}"


def _is(tokenizer: Tokenizer, name: str) -> bool:
    """Return whether a tokenizer is the one of this name."""
    if isinstance(tokenizer, Characters):
        return name == "characters"
    return name != "characters" and tokenizer_of(name, ()) == tokenizer


def _given(data: Tokens, path: Path) -> Tokenizer | None:
    """Return the tokenizer of a .bin without tokens.json; None if it is not given."""
    if data.tokenizer is None:
        return None
    if data.tokenizer == "characters":
        raise Mistake(
            f"{path} has no {bins.NAME} beside it, so its characters are not known: give "
            "vocabulary, or write it with `jbatch prepare text`"
        )
    return tokenizer_of(data.tokenizer, ())


def _vocabulary(data: Tokens, tokenizer: Tokenizer | None, known: int | None = None) -> int:
    """Return the number of different tokens: given, or the tokenizer's, which may be known."""
    if data.vocabulary is None and tokenizer is None:
        raise Mistake(
            f"{data.train} has no {bins.NAME} beside it, so its number of different tokens is not "
            "known: give vocabulary, such as 50257 for GPT-2's"
        )
    least = known or (tokenizer.size if tokenizer else 1)
    found = data.vocabulary or least
    if found < least:
        raise Mistake(f"vocabulary is {found:,}, but the tokenizer has {least:,}: leave it out")
    return found
