"""Aligned plain text, the same on a terminal, in a pipe and in a golden file."""

from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as text: first column flush left, the others flush right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = StringIO()
    # Wide enough for any row: rich would fold rows to the width of the terminal.
    Console(file=out, width=1000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())
