"""Making foreign text safe to print on a terminal."""

import unicodedata

# Control characters, format characters (some reverse the direction of text), surrogates, and the
# two line separators that only some programs treat as line breaks.
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str, kept: str = "\n") -> str:
    """Spell out characters that are invisible or could control a terminal, except those in `kept`.

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
