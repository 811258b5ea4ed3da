"""The report as Markdown: the same sections, words and tables as the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from steereval.results.report.blocks import Block, Code, Facts, Fold, Items, Legend, Pictures, Text
from steereval.results.report.content import Content
from steereval.results.report.plots.drawing import Picture
from steereval.results.report.tables.table import ReportTable, markdown_text

DEEPEST = 6
"""Headings that Markdown has."""


def render_markdown(content: Content) -> str:
    """The whole report as Markdown; figures are linked as files in its folder."""
    return "\n".join(_lines(content)).rstrip() + "\n"


def _lines(content: Content) -> Iterator[str]:
    yield f"# {markdown_text(content.title)}\n"
    yield f"**{markdown_text(' '.join(content.headline))}**\n"
    yield from (f"- {markdown_text(sentence)}" for sentence in content.summary)
    if content.departures:
        yield "\nRead first:\n"
        yield from (f"- {_prose(sentence)}" for sentence in content.departures)
    for section in content.sections:
        yield f"\n## {section.title}\n"
        yield from _blocks(section.blocks, content, 3)


def _blocks(blocks: Iterable[Block], content: Content, depth: int) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Fold):
            yield f"{'#' * min(depth, DEEPEST)} {markdown_text(block.title)}\n"
            yield from (f"{_prose(hint)}\n" for hint in block.hints)
            yield from _blocks(block.blocks, content, depth + 1)
        else:
            yield from _block(block, content)


def _block(block: Block, content: Content) -> Iterator[str]:
    if isinstance(block, ReportTable):
        yield f"{markdown_text(block.caption)}\n\n{block.markdown()}\n"
    elif isinstance(block, Text):
        yield f"{_prose(block.text)}\n"
    elif isinstance(block, Legend):
        yield ", ".join(f"{mark} {meaning}" for _, mark, meaning in block.entries) + "\n"
    elif isinstance(block, Pictures):
        yield from map(_figure, block.pictures)
    elif isinstance(block, Facts):
        for name, value in block.pairs:
            yield f"- **{markdown_text(name)}.** {markdown_text(value)}"
        yield ""
    elif isinstance(block, Code):
        yield f"~~~json\n{block.text}\n~~~\n"
    elif isinstance(block, Items):
        for chunk in content.items:
            yield f"- {markdown_text(chunk.title)}: {markdown_text(chunk.summary)}"
        yield "\nThe page lets one browse them; items.jsonl has all scores.\n"


def _prose(text: str) -> str:
    """`text` as plain text, with what stands between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick that closes nothing is one of a name
        return markdown_text(text)
    return "`".join(part if i % 2 else markdown_text(part) for i, part in enumerate(parts))


def _figure(picture: Picture) -> str:
    words = f"{picture.title}. {picture.alternative}"
    return f"![{markdown_text(words)}](figures/{picture.name}.png)\n"
