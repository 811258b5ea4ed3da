"""The leaderboard as people post it, in Markdown and LaTeX: primary metrics only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from steereval.common.text import slug
from steereval.results.analysis.judge_coverage import products_of_means
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.report.glossary import CORRECTIONS
from steereval.results.report.summary import MARKS, summary
from steereval.results.report.tables.leaderboard import result_table
from steereval.results.report.tables.table import Entry, ReportTable, markdown_text
from steereval.results.report.writers.latex import latex_table

_LEFT_OUT = ("Rank",)
"""Columns that a posted table does without."""


def posted_markdown(analysis: Analysis) -> str:
    """A heading, the opening sentences, and a table for each model and task."""
    lines = [f"# {markdown_text(analysis.plan.name)}", ""]
    lines += [f"- {markdown_text(sentence)}" for sentence in (*summary(analysis), _basis(analysis))]
    for model, grid in posted_tables(analysis):
        lines += ["", f"**{markdown_text(model)}**: {markdown_text(grid.caption)}", ""]
        lines.append(grid.markdown())
    return "\n".join(lines) + "\n"


def posted_latex(analysis: Analysis) -> str:
    """The same tables for `booktabs`, each a float with a caption and a label."""
    lines = [f"% {' '.join(analysis.plan.name.split())}: \\usepackage{{booktabs}}", ""]
    for model, grid in posted_tables(analysis):
        caption = f"{model}: {grid.caption}. {_basis(analysis)}"
        lines += [latex_table(grid, caption), ""]
    return "\n".join(lines)


def posted_tables(analysis: Analysis) -> Iterator[tuple[str, ReportTable]]:
    """(model, table) of every primary metric."""
    products = products_of_means(analysis.rows)
    for (model, *_), rows in groupby(
        analysis.rows, key=lambda row: (row.model, row.task.name, row.metric.name)
    ):
        group = list(rows)
        if group[0].is_primary:
            name = slug(model, group[0].task.name, group[0].metric.name)
            table = result_table(group, name, analysis.plan.confidence, products)
            yield model, _plainer(table)


def _plainer(grid: ReportTable) -> ReportTable:
    """Without ranks, and without the marks of verdicts, whose words say the same."""
    indices = [i for i, column in enumerate(grid.columns) if column.title not in _LEFT_OUT]
    return ReportTable(
        grid.name,
        grid.caption,
        tuple(grid.columns[i] for i in indices),
        tuple(tuple(_unmarked(row[i]) for i in indices) for row in grid.rows),
    )


def _unmarked(entry: Entry) -> Entry:
    mark, _, word = entry.text.partition(" ")
    return replace(entry, text=word) if entry.tone and mark in MARKS.values() else entry


def _basis(analysis: Analysis) -> str:
    plan = analysis.plan
    correction = CORRECTIONS.get(plan.correction, plan.correction)
    return (
        f"Differences to “{plan.baseline}”, paired by item and fit seed, with "
        f"{100 * plan.confidence:g} % intervals; p-values adjusted by {correction}; “Detects” is "
        "the least difference that this design detects with a power of 80 %."
    )
