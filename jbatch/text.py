"""Format numbers, lists and tables for people, the same on a terminal, in a pipe and in a file."""

import math
import unicodedata
from collections.abc import Sequence


def counted(count: float, noun: str, form: str = ",") -> str:
    """Format a number of things: "1 update", "1,500 updates"."""
    return f"{count:{form}} {noun}{'' if count == 1 else 's'}"


def byte_size(size: float) -> str:
    """Format a number of bytes; infinity means that the compiler refused the program."""
    if size == float("inf"):
        return "more than there is"
    for unit in ("B", "KiB", "MiB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.2f} GiB"


def clock(seconds: float) -> str:
    """Format a duration to the second: "1:02:03"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def duration(hours: float) -> str:
    """Format a long duration: "119 minutes", "2.5 hours"."""
    minutes = round(60 * hours)
    return f"{minutes:,} minutes" if minutes < 120 else f"{hours:,.1f} hours"


def significant(value: float, digits: int) -> str:
    """Format a number with so many digits, or with all its digits before the point."""
    whole = abs(value) >= 10 ** (digits - 1)
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def rounded(value: float, digits: int) -> float:
    """Round to so many digits: a float32's 0.10000000149 to 0.1."""
    return float(f"{value:.{digits}g}")


def signed(value: float, margin: float) -> str:
    """Format a difference with its sign; there is no −0.00.

    It has two decimals, or two digits more than a `margin` under 0.1 that it is held against.
    """
    decimals = 2 if margin >= 0.1 else 2 - math.floor(math.log10(margin))
    return f"{value:+z.{decimals}f}".replace("-", "−")


def with_error(value: float, error: float | None, form: str) -> str:
    """Format a measured value as "12.3 ± 0.4", or as "12.3" if its error is not known.

    Of a general `form`, such as ".4g", the error keeps two digits, and the value as many decimals.
    """
    if form.endswith("g") and error and math.isfinite(error):
        form = f".{max(0, 1 - math.floor(math.log10(error)))}f"
    return f"{value:{form}}" if error is None else f"{value:{form}} ± {error:{form}}"


def span(first: float, peak: float, last: float) -> str:
    """Format how a value goes: "0.1 → 0.5 → 0.02", without a peak at an end, or repeated values."""
    begins, top, ends = (f"{value:.4g}" for value in (first, peak, last))
    shown = [begins, ends] if top in (begins, ends) else [begins, top, ends]
    return " → ".join(dict.fromkeys(shown))


def listed(texts: Sequence[str], most: int, between: str = "; ", last: str = "; and ") -> str:
    """Join the first `most` texts, and count the others: "a; b; and 3 more"."""
    others = len(texts) - most
    return between.join(texts[:most]) + (f"{last}{others:,} more" if others > 0 else "")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as text: first column flush left, the others flush right."""
    widths = [max(map(_width, column)) for column in zip(header, *rows, strict=True)]
    rule = "─" * (sum(widths) + 3 * (len(widths) - 1))
    return "\n".join((_aligned(header, widths), rule, *(_aligned(row, widths) for row in rows)))


def _width(text: str) -> int:
    """Return the columns of a terminal that a text takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    spaces = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
    others = (space + cell for space, cell in zip(spaces[1:], row[1:], strict=True))
    return "   ".join((row[0] + spaces[0], *others)).rstrip()
