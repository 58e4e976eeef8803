"""Lists as plain columns: no frames, so that they can be copied and cut."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from heddle_cli.display.screen import clean


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> RenderableType:
    """Rows below their columns' names; `empty` where there are none. Never cuts a word."""
    told = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        told.add_column(column, overflow="fold", no_wrap=column in ("id", "run", "thread", "input"))
    for row in rows:
        told.add_row(*(Text(clean(cell)) for cell in row))
    return told if told.row_count else Text(empty)


def sheet(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """One thing: names and values; empty values are left out."""
    told = Table(box=None, pad_edge=False, show_header=False)
    told.add_column(style="bold", no_wrap=True)
    told.add_column(overflow="fold")
    for name, value in rows:
        if value:
            told.add_row(name, Text(clean(value)))
    return told
