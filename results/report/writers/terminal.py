"""The verdicts in a terminal: a table with colours there, aligned plain text where it is piped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steereval.results.analysis.conclusion import short_verdict
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.report.tables.table import Entry, ReportTable
from steereval.results.report.tables.verdict_matrix import matrix_grid

STYLES = {
    "good": "blue",
    "bad": "red",
    "harm": "red",
    "even": "green",
    "open": "dim",
    "none": "dim",
}
"""Of the tones of verdicts; their shapes say the same without colour."""

SHOWN = ("method", "task", "model", "score", "difference", "verdict", "strength", "effects")
"""Kinds of columns of the matrix that are printed."""

NARROW = ("method", "task", "model", "difference", "verdict")
"""Those that a terminal of fewer than ROOMY columns has room for."""

ROOMY = 110

GAP = "  "


def print_verdicts(analysis: Analysis, stream: TextIO) -> None:
    """Print the headline and the matrix of verdicts to `stream`.

    Args:
        analysis: What the run shows.
        stream: A terminal gets a table with colours; anything else plain text, a line a row.
    """
    console = Console(file=stream, highlight=False, soft_wrap=False)
    is_narrow = console.is_terminal and console.width < ROOMY
    if console.is_terminal:
        grid = _narrowed(matrix_grid(analysis, {}), NARROW if is_narrow else SHOWN)
        console.print(Text(_headline(analysis), style="bold"))
        if grid.rows:
            console.print(_table(grid))
        return
    encoding = stream.encoding or "utf-8"
    text = "\n".join(verdict_lines(analysis)).encode(encoding, "replace").decode(encoding)
    print(text, file=stream, flush=True)


def verdict_lines(analysis: Analysis) -> list[str]:
    """The headline and the matrix of verdicts as plain text."""
    grid = _narrowed(matrix_grid(analysis, {}), SHOWN)
    return [_headline(analysis), *plain_lines(grid)]


def _headline(analysis: Analysis) -> str:
    return " ".join(short_verdict(analysis.rows, analysis.plan.baseline))


def plain_lines(grid: ReportTable) -> list[str]:
    """The table as aligned text, a line a row; empty without rows."""
    if not grid.rows:
        return []
    cells = [[column.title for column in grid.columns]]
    cells += [[entry.plain for entry in row] for row in grid.rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(grid.columns))]
    return [_line(row, widths, grid).rstrip() for row in cells]


def _line(row: Sequence[str], widths: Sequence[int], grid: ReportTable) -> str:
    return GAP.join(
        text.rjust(width) if column.numeric else text.ljust(width)
        for text, width, column in zip(row, widths, grid.columns, strict=True)
    )


def _narrowed(grid: ReportTable, shown: Sequence[str]) -> ReportTable:
    indices = [i for i, column in enumerate(grid.columns) if column.kind in shown]
    return ReportTable(
        grid.name,
        grid.caption,
        tuple(grid.columns[i] for i in indices),
        tuple(tuple(row[i] for i in indices) for row in grid.rows),
    )


def _table(grid: ReportTable) -> Table:
    table = Table(box=SIMPLE_HEAD, title=grid.caption, title_justify="left", pad_edge=False)
    for column in grid.columns:
        table.add_column(column.title, justify="right" if column.numeric else "left")
    for row in grid.rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(entry: Entry) -> Text:
    """The entry with its small lines below it, each in the style of its tone."""
    lines = [Text(entry.text, STYLES.get(entry.tone, ""))] if entry.text else []
    lines += [Text(entry.note, "dim")] if entry.note else []
    lines += [Text(remark.text, STYLES.get(remark.tone, "dim")) for remark in entry.remarks]
    return Text("\n").join(lines)
