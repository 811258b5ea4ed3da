"""The report as Markdown: the same words and tables as the page."""

from __future__ import annotations

from collections.abc import Iterator

from steereval.results.report.choosing_grid import EXPLANATION, NOTHING_CHOSEN
from steereval.results.report.collapse_grid import RULE
from steereval.results.report.content import Content
from steereval.results.report.drawing import Picture
from steereval.results.report.grid import markdown_text
from steereval.results.report.opening import Block


def render_markdown(content: Content) -> str:
    """The whole report as Markdown; figures are linked as files beside it."""
    return "\n".join(_lines(content)).rstrip() + "\n"


def _lines(content: Content) -> Iterator[str]:
    yield f"# {markdown_text(content.title)}\n"
    for sentence in (*content.summary, *content.notes):
        yield f"- {markdown_text(sentence)}"
    yield "\n## Verdicts\n"
    for block in content.blocks:
        yield from _block(block)
    yield from _answers(content)
    yield "## How to read it\n"
    for term, meaning in content.reading:
        yield f"- **{term}.** {meaning}"
    yield "\n## Leaderboard\n"
    for model in content.models:
        yield f"### {markdown_text(model.model)}\n"
        yield from (f"{markdown_text(sentence)}\n" for sentence in model.absences)
        for pair in model.results:
            for grid in pair:
                yield f"{markdown_text(grid.caption)}\n\n{grid.markdown()}\n"
    if content.published:
        yield "## Published figures (not measured here)\n"
    for grid in content.published:
        yield f"{markdown_text(grid.caption)}\n\n{grid.markdown()}\n"
    yield from _questions(content)
    yield from _evidence(content)
    yield from _provenance(content)


def _block(block: Block) -> Iterator[str]:
    yield f"### {markdown_text(block.model)}: {markdown_text(block.title)} ({block.role})\n"
    for line in block.lines:
        caution = f" ({line.caution})" if line.caution else ""
        yield f"- {markdown_text(line.arm)}: **{line.word}**, {markdown_text(line.text)}{caution}"
    yield ""


def _answers(content: Content) -> Iterator[str]:
    if content.questions:
        yield "## The eight questions in short\n"
    for question in content.questions:
        sentences = " ".join(map(markdown_text, question.sentences))
        yield f"{question.number}. **{question.question}** {sentences}"
    if content.question_note:
        yield f"\n{content.question_note}"
    yield ""


def _questions(content: Content) -> Iterator[str]:
    if content.questions:
        yield "## The eight questions\n"
    yield from (f"{markdown_text(remark)}\n" for remark in content.question_remarks)
    for question in content.questions:
        yield f"### {question.number}. {question.question}\n"
        yield from (f"{markdown_text(text)}\n" for text in (*question.sentences, *question.more))
        yield from (f"**Beware:** {markdown_text(text)}.\n" for text in question.warnings)
        yield f"{markdown_text(question.method)}\n"
        yield from map(_figure, question.figures)
        for grid in (*question.grids, *question.asides):
            yield f"{markdown_text(grid.caption)}\n\n{grid.markdown()}\n"


def _evidence(content: Content) -> Iterator[str]:
    yield "## Figures\n"
    for group in content.figures:
        yield f"### {markdown_text(group.title)}\n\n{group.caption}\n"
        yield from (f"{markdown_text(sentence)}\n" for sentence in group.absences)
        yield from map(_figure, group.pictures)
    if content.response_grids:
        yield "## Strength response (exploratory)\n"
    yield from (f"{markdown_text(words)}\n" for words in content.collapse_words)
    if content.collapse_grids:
        yield f"{RULE}\n"
    for grid in content.collapse_grids:
        yield f"{markdown_text(grid.caption)}\n\n{grid.markdown()}\n"
    for grid in content.response_grids:
        yield f"{markdown_text(grid.caption)}\n\n{grid.markdown()}\n"
    yield "## Winner's curse\n"
    yield f"{EXPLANATION if content.choosing_grids else NOTHING_CHOSEN}\n"
    for grid in content.choosing_grids:
        yield f"{markdown_text(grid.caption)}\n\n{grid.markdown()}\n"
    if content.across:
        yield "## Over all target tasks\n"
    for grid in content.across:
        yield f"{markdown_text(grid.caption)}\n\n{grid.markdown()}\n"
    if content.replication is not None:
        yield f"## {content.replication.caption}\n\n{content.replication.markdown()}\n"
    yield f"## Noise floor\n\n{content.noise_words}\n"
    if content.noise is not None:
        yield f"{content.noise.markdown()}\n"
    yield "## Items\n"
    for chunk in content.items:
        yield f"- {markdown_text(chunk.title)}: {markdown_text(chunk.summary)}"
    yield "\nThe page lets one browse them; items.jsonl has all scores.\n"
    for last in (content.coupling, content.profile, content.failures):
        if last is not None:
            yield f"## {last.caption}\n\n{last.markdown()}\n"


def _figure(picture: Picture) -> str:
    words = f"{picture.title}. {picture.alternative}"
    return f"![{markdown_text(words)}](figures/{picture.name}.png)\n"


def _provenance(content: Content) -> Iterator[str]:
    yield "## Provenance\n"
    for name, value in content.provenance:
        yield f"- {markdown_text(name)}: {markdown_text(value)}"
    yield f"\n{content.seeds.markdown()}\n"
    for title, text in content.documents:
        yield f"{markdown_text(title)}\n\n~~~json\n{text}\n~~~\n"
