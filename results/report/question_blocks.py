"""The answers to the eight questions as tables and figures of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steereval.results.questions.evidence import COMMAND
from steereval.results.questions.parts import Answer, Curves, Dots, Figure, Heading, Shown, Table
from steereval.results.report.curves_plot import curves_plot
from steereval.results.report.dots_plot import dots_plot
from steereval.results.report.drawing import Picture, slug
from steereval.results.report.grid import Column, Entry, Grid
from steereval.results.report.scatter_plot import scatter_plot

NOT_DIAGNOSED = (
    f"These are the answers that the rows of the run give. {COMMAND} measures the others on the "
    "models' activations: cost, the solver's error, the barrier property, trajectories, "
    "nonlinearity."
)


@dataclass(frozen=True)
class QuestionBlock:
    """One of the eight questions with all that answers it."""

    anchor: str
    """Where it is on the page: q1 to q8."""

    number: int
    """1 to 8."""

    question: str
    """As reviewers ask it."""

    sentences: tuple[str, ...]
    """The answer, a sentence for every model and contrast set."""

    more: tuple[str, ...]
    """Further sentences."""

    method: str
    """How it was found."""

    warnings: tuple[str, ...]
    """What a reader must beware of."""

    figures: tuple[Picture, ...]
    """What the answer rests on."""

    grids: tuple[Grid, ...]
    """Likewise."""

    asides: tuple[Grid, ...]
    """Tables that stand beside the answer."""


def question_blocks(answers: Sequence[Answer]) -> tuple[QuestionBlock, ...]:
    """The questions in their order."""
    return tuple(_block(answer) for answer in answers)


def _block(answer: Answer) -> QuestionBlock:
    findings = answer.findings
    tables = [table for finding in findings for table in finding.tables]
    return QuestionBlock(
        anchor=answer.anchor,
        number=answer.number,
        question=answer.question,
        sentences=answer.sentences,
        more=tuple(dict.fromkeys(text for finding in findings for text in finding.more)),
        method=answer.method,
        warnings=tuple(text for finding in findings for text in finding.warnings),
        figures=tuple(_picture(figure) for finding in findings for figure in finding.figures),
        grids=tuple(_grid(table) for table in tables if not table.is_aside),
        asides=tuple(_grid(table) for table in tables if table.is_aside),
    )


def _picture(figure: Figure) -> Picture:
    if isinstance(figure, Curves):
        return curves_plot(figure)
    return dots_plot(figure) if isinstance(figure, Dots) else scatter_plot(figure)


def _grid(table: Table) -> Grid:
    columns = tuple(_column(heading) for heading in table.headings)
    rows = tuple(tuple(_entry(cell) for cell in row) for row in table.rows)
    return Grid(slug(table.name), table.caption, columns, rows)


def _column(heading: Heading) -> Column:
    return Column(heading.title, heading.numeric, heading.help)


def _entry(cell: Shown) -> Entry:
    return Entry(cell.text, cell.order, note=cell.note)
