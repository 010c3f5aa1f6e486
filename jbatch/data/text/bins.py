"""Files of tokens (.bin), and tokens.json beside them, which says what a token is.

A .bin file holds uint16 or uint32 in the machine's order (little-endian), without a header, as
nanoGPT and others write them.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from jbatch.data.text.encode import Part, number_type
from jbatch.data.text.tokenizer import Ids, Tokenizer
from jbatch.errors import Mistake, said
from jbatch.files import open_ordinary, read_whole, sync_folder, write_whole

NAME = "tokens.json"
NumberType = Literal["uint16", "uint32"]


class Size(Struct, frozen=True):
    """The size of one .bin file."""

    tokens: Annotated[int, Meta(ge=0)]
    bytes: Annotated[int, Meta(ge=0)]  # of its text in UTF-8


class Beside(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of tokens.json."""

    tokenizer: Tokenizer
    vocabulary: Annotated[int, Meta(ge=1, le=1 << 32)]
    dtype: NumberType
    files: dict[str, Size]


def check_new(folder: Path) -> None:
    """Raise Mistake if a folder exists already."""
    if folder.exists():
        raise Mistake(f"{folder} exists: give another folder, or remove it")


def write(folder: Path, tokenizer: Tokenizer, parts: Mapping[str, Part]) -> None:
    """Write a new folder: a .bin for each split, and tokens.json. It appears whole, or not at all.

    Raises:
        Mistake: if it exists already.
    """
    check_new(folder)
    unfinished = folder.with_name(f"{folder.name}.incomplete")
    with suppress(FileNotFoundError):  # of a killed command
        rmtree(unfinished)
    unfinished.mkdir(parents=True)
    for split, part in parts.items():
        write_whole(unfinished / f"{split}.bin", part.tokens.tobytes())
    sizes = {
        f"{split}.bin": Size(len(part.tokens), part.num_bytes) for split, part in parts.items()
    }
    size = tokenizer.size
    dtype: NumberType = "uint16" if number_type(size) is np.uint16 else "uint32"
    content = msgspec.json.encode(Beside(tokenizer, size, dtype, sizes))
    write_whole(unfinished / NAME, content)
    os.rename(unfinished, folder)
    sync_folder(folder.parent)


def beside(path: Path) -> Beside | None:
    """Return what tokens.json says in the folder of a .bin file; None if there is none.

    Raises:
        Mistake: if it is damaged.
    """
    file = path.parent / NAME
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(read_whole(file), type=Beside)
    except (OSError, msgspec.DecodeError) as error:
        raise Mistake(
            f"{file} is damaged ({said(error)}): write the folder again with `jbatch prepare text`"
        ) from error


def bytes_per_token(path: Path, said: Beside, count: int) -> float:
    """Return the mean size of a .bin file's tokens; raise Mistake if it has not as many as said."""
    size = said.files.get(path.name, Size(0, 0))
    if size.tokens != count:
        raise Mistake(
            f"{path} has {count:,} tokens, but {path.parent / NAME} says {size.tokens:,}: it was "
            "cut or replaced. Write the folder again with `jbatch prepare text`"
        )
    return size.bytes / size.tokens


def mapped(path: Path, dtype: NumberType) -> Ids:
    """Map a .bin file into memory, (T,); its pages are read when they are used.

    Raises:
        Mistake: if it cannot be read, is empty, or ends within a token.
    """
    each = np.dtype(dtype).itemsize
    try:
        with open_ordinary(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size and not size % each:
                return np.memmap(file, np.dtype(dtype).newbyteorder("<"), "r")
    except OSError as error:
        raise Mistake(
            f"{path} cannot be read ({error.strerror or error}): give a file of tokens, or a "
            "folder of `jbatch prepare text`"
        ) from error
    if not size:
        raise Mistake(f"{path} is empty: give a file with tokens")
    raise Mistake(
        f"{path} has {size:,} bytes, which is no multiple of {each} ({dtype}): it was cut, or its "
        "tokens are of another type. Copy it again, or write it with `jbatch prepare text`"
    )
