"""A table for reading: the same cells as HTML, Markdown and a CSV download."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from dataclasses import dataclass

from steereval.common.csv_text import csv_safe


@dataclass(frozen=True)
class Column:
    """A column's heading."""

    title: str
    """Short, as it stands in the head."""

    numeric: bool = False
    """Whether it is set flush right."""

    help: str = ""
    """Explanation, shown on hovering."""

    kind: str = ""
    """Kind of column with a layout of its own on narrow screens; empty for a plain column."""


@dataclass(frozen=True)
class Remark:
    """A small line below an entry."""

    text: str
    """As it is read."""

    tone: str = ""
    """As of an entry."""


@dataclass(frozen=True)
class Entry:
    """The content of one table cell."""

    text: str
    """As it is read."""

    order: float | None = None
    """Sort key; None: the text."""

    tone: str = ""
    """The verdict's tone: "good", "bad", "even", "open", "none"; empty for plain text."""

    note: str = ""
    """A smaller second line."""

    remarks: tuple[Remark, ...] = ()
    """Further lines, each with a tone of its own."""

    @property
    def plain(self) -> str:
        """All of it in one line."""
        first = " ".join(filter(None, (self.text, self.note)))
        return "; ".join(filter(None, (first, *(remark.text for remark in self.remarks))))


@dataclass(frozen=True)
class ReportTable:
    """A table with a caption."""

    name: str
    """Unique on the page, fit for a file name."""

    caption: str
    """Caption of the table."""

    columns: tuple[Column, ...]
    """From left to right."""

    rows: tuple[tuple[Entry, ...], ...]
    """Each as long as `columns`."""

    kind: str = ""
    """Kind of table with a layout of its own on the page; empty for a plain table."""

    @property
    def download(self) -> str:
        """The table as a data: link to CSV."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([csv_safe(column.title) for column in self.columns])
        for row in self.rows:
            writer.writerow([csv_safe(entry.plain) for entry in row])
        encoded = base64.b64encode(text.getvalue().encode()).decode()
        return f"data:text/csv;charset=utf-8;base64,{encoded}"

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [[markdown_text(column.title) for column in self.columns]]
        lines.append(["---:" if column.numeric else "---" for column in self.columns])
        for row in self.rows:
            lines.append([markdown_text(entry.plain) for entry in row])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown_text(text: str) -> str:
    """`text` as plain text within a Markdown table: no HTML, link or image."""
    escaped = html.escape(" ".join(text.splitlines()), quote=False)
    for mark in "|*_`":
        escaped = escaped.replace(mark, f"\\{mark}")
    return _LINK.sub(r"\\]", escaped)


_LINK = re.compile(r"\](?=[(\[:])")
"""The bracket that makes a link, an image or the definition of one."""
