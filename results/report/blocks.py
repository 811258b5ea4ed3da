"""Sections of blocks that make up a report; page and Markdown both render them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steereval.results.report.plots.drawing import Picture
from steereval.results.report.tables.table import ReportTable


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    """Plain text."""

    kind: str = "plain"
    """"plain", "explain" (how something is read), "absent" (why something is missing), "answer",
    "warning" or "note"."""


@dataclass(frozen=True)
class Legend:
    """The shapes of verdicts and their meanings."""

    entries: tuple[tuple[str, str, str], ...]
    """(tone, shape, meaning)."""


@dataclass(frozen=True)
class Pictures:
    """Figures side by side."""

    pictures: tuple[Picture, ...]
    """At least one."""


@dataclass(frozen=True)
class Facts:
    """Names with their values or meanings."""

    pairs: tuple[tuple[str, str], ...]
    """(name, value)."""

    kind: str = "facts"
    """"facts" for short values, "terms" for sentences."""


@dataclass(frozen=True)
class Code:
    """Text that is shown as it stands, such as JSON."""

    text: str
    """The text."""


@dataclass(frozen=True)
class Items:
    """Where the item browser is."""


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown when a reader opens them."""

    title: str
    """The heading, visible while the blocks are closed."""

    blocks: tuple[Block, ...]
    """The blocks."""

    hints: tuple[str, ...] = ()
    """A summary in sentences, visible while the blocks are closed."""

    anchor: str = ""
    """Its id on the page; empty if nothing leads to it."""


Block = Text | Legend | Pictures | Facts | Code | Items | Fold | ReportTable


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading."""

    anchor: str
    """Its id on the page."""

    title: str
    """The heading."""

    blocks: tuple[Block, ...]
    """From top to bottom."""

    hint: str = ""
    """A summary in a few words, visible while the section is closed."""

    is_open: bool = False
    """Whether it is shown at once."""


def pictures_of(blocks: tuple[Block, ...]) -> Iterator[Picture]:
    """All figures of `blocks`, folded ones too."""
    for block in blocks:
        if isinstance(block, Pictures):
            yield from block.pictures
        elif isinstance(block, Fold):
            yield from pictures_of(block.blocks)


def figures(pictures: tuple[Picture, ...], absences: tuple[str, ...] = ()) -> tuple[Block, ...]:
    """Figures, if there are any, and sentences for what could not be drawn."""
    drawn = (Pictures(pictures),) if pictures else ()
    return (*drawn, *(Text(sentence, "absent") for sentence in absences))
