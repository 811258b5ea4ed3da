"""The answers to the questions that a grid raises, as a section of the report."""

from __future__ import annotations

from steereval.common.text import slug
from steereval.results.analysis.wording import joined
from steereval.results.questions.blocks import Answer, Curves, Dots, Figure, Heading, Shown, Table
from steereval.results.questions.evidence import BARRIER, COMMAND, FLOW, Evidence
from steereval.results.questions.registry import answers_of
from steereval.results.questions.remarks import remarks
from steereval.results.report.blocks import Block, Fold, Section, Text, figures
from steereval.results.report.plots.curves_plot import curves_plot
from steereval.results.report.plots.dots_plot import dots_plot
from steereval.results.report.plots.drawing import Picture
from steereval.results.report.plots.scatter_plot import scatter_plot
from steereval.results.report.tables.table import Column, Entry, ReportTable

REVIEWERS = "What reviewers of steering methods ask, as far as the methods of this grid raise it."


def questions_section(evidence: Evidence) -> Section | None:
    """Each question with its answer, folded around what it rests on; None without any."""
    answers = answers_of(evidence)
    if not answers:
        return None
    blocks: list[Block] = [Text(REVIEWERS, "explain")]
    blocks += [Text(remark, "note") for remark in remarks(evidence.diagnoses)]
    blocks += [_fold(answer) for answer in answers]
    if not evidence.diagnoses and evidence.steered:
        blocks.append(Text(_not_diagnosed(evidence), "note"))
    return Section("questions", "Questions", tuple(blocks), is_open=True)


def _not_diagnosed(evidence: Evidence) -> str:
    """A sentence on the measurements that would answer the open questions of the methods."""
    measured = ["what steering costs", "how likely the steered activations are"]
    if evidence.raises(FLOW):
        measured.insert(1, "the solver's error")
    if evidence.raises(BARRIER):
        measured.insert(1, "the barrier property")
    return f"{COMMAND} measures more on the model's activations: {joined(measured)}."


def _fold(answer: Answer) -> Fold:
    findings = answer.findings
    tables = [table for finding in findings for table in finding.tables]
    pictures = tuple(_picture(figure) for finding in findings for figure in finding.figures)
    more = dict.fromkeys(text for finding in findings for text in finding.more)
    warnings = [text for finding in findings for text in finding.warnings]
    blocks: tuple[Block, ...] = (
        *(Text(text) for text in more),
        *(Text(f"Beware: {text}.", "warning") for text in warnings),
        *figures(pictures),
        *(_grid(table) for table in tables if not table.is_aside),
        Text(answer.method, "explain"),
        *(Fold(table.caption, (_grid(table),)) for table in tables if table.is_aside),
    )
    return Fold(answer.question, blocks, answer.sentences, answer.anchor)


def _picture(figure: Figure) -> Picture:
    if isinstance(figure, Curves):
        return curves_plot(figure)
    return dots_plot(figure) if isinstance(figure, Dots) else scatter_plot(figure)


def _grid(table: Table) -> ReportTable:
    columns = tuple(_column(heading) for heading in table.headings)
    rows = tuple(tuple(_entry(cell) for cell in row) for row in table.rows)
    return ReportTable(slug(table.name), table.caption, columns, rows)


def _column(heading: Heading) -> Column:
    return Column(heading.title, heading.numeric, heading.help)


def _entry(cell: Shown) -> Entry:
    return Entry(cell.text, cell.order, note=cell.note)
