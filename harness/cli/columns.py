"""Columns: a table in a terminal, aligned plain text where the output is piped."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from steereval.common.text import visible

GAP = "  "


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()
) -> None:
    """Print rows under headings to the output.

    A terminal gets a table that fits its width. A pipe gets a line a row, however long, with
    neither colour codes nor rules, so that `grep`, `awk` and `cut` find their columns.

    Args:
        headings: One for each column.
        rows: Cells as text, as many as there are headings.
        numeric: Headings of the columns that are aligned on the right.
    """
    rows = [list(map(visible, row)) for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, rows, numeric)
        return
    for line in plain_lines(headings, rows, numeric):
        print(line)


def print_text(text: str, style: str = "") -> None:
    """Print a sentence, broken between words in a terminal, as one line to a pipe.

    Args:
        text: The sentence.
        style: Rich's style of it in a terminal, such as `bold` or `yellow`.
    """
    text = visible(text)
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(text, style))


def plain_lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()
) -> list[str]:
    """The table as aligned text, headings first, without spaces at the ends of lines."""
    table = [list(headings), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    return [
        GAP.join(
            text.rjust(width) if heading in numeric else text.ljust(width)
            for text, width, heading in zip(row, widths, headings, strict=True)
        ).rstrip()
        for row in table
    ]


def _print_rich(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if heading in numeric else "left",
            no_wrap=heading in numeric or number == 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)
