"""Format numbers, lists and tables for people, the same on a terminal, in a pipe and in a file."""

from collections.abc import Sequence
from io import StringIO


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


def signed(value: float) -> str:
    """Format a difference with its sign and two decimals; there is no −0.00."""
    return f"{value:+z.2f}".replace("-", "−")


def with_error(value: float, error: float | None, form: str) -> str:
    """Format a measured value as "12.3 ± 0.4", or as "12.3" if its error is not known."""
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
    # Here, because data workers import this file, and rich takes long to import.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = StringIO()
    # Wide enough for any row: rich would fold rows to the width of the terminal.
    Console(file=out, width=1000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())
