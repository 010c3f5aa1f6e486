"""Text that somebody else wrote, as it may be shown."""

import unicodedata

# Control, format (of them those that turn the direction of writing) and surrogate characters, and
# the two that end a line in some programs only.
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str, kept: str = "\n") -> str:
    """A text whose characters all show: those that would command a terminal are spelled out.

    >>> printable("a\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _spelled(character)
        if unicodedata.category(character) in UNSEEN and character not in kept
        else character
        for character in text
    )


def _spelled(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
