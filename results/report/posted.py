"""The leaderboard as people post it, in Markdown and LaTeX: primary metrics only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from steereval.results.analysis import Analysis
from steereval.results.judges import products_of_means
from steereval.results.report.drawing import slug
from steereval.results.report.glossary import CORRECTIONS
from steereval.results.report.grid import Entry, Grid, markdown_text
from steereval.results.report.latex import latex_table
from steereval.results.report.leader_grids import result_grid
from steereval.results.report.opening import MARKS, summary

_LEFT_OUT = ("Rank",)
"""Columns that a posted table does without."""


def posted_markdown(analysis: Analysis) -> str:
    """A heading, the opening sentences, and a table for each model and task."""
    lines = [f"# {markdown_text(analysis.plan.name)}", ""]
    lines += [f"- {markdown_text(sentence)}" for sentence in (*summary(analysis), _basis(analysis))]
    for model, grid in posted_grids(analysis):
        lines += ["", f"**{markdown_text(model)}**: {markdown_text(grid.caption)}", ""]
        lines.append(grid.markdown())
    return "\n".join(lines) + "\n"


def posted_latex(analysis: Analysis) -> str:
    """The same tables for `booktabs`, each a float with a caption and a label."""
    lines = [f"% {' '.join(analysis.plan.name.split())}: \\usepackage{{booktabs}}", ""]
    for model, grid in posted_grids(analysis):
        caption = f"{model}: {grid.caption}. {_basis(analysis)}"
        lines += [latex_table(grid, caption), ""]
    return "\n".join(lines)


def posted_grids(analysis: Analysis) -> Iterator[tuple[str, Grid]]:
    """(model, table) of every primary metric."""
    products = products_of_means(analysis.rows)
    for (model, *_), rows in groupby(
        analysis.rows, key=lambda row: (row.model, row.task.name, row.metric.name)
    ):
        group = list(rows)
        if group[0].is_primary:
            name = slug(model, group[0].task.name, group[0].metric.name)
            found = result_grid(group, name, analysis.plan.confidence, products)
            yield model, _plainer(found)


def _plainer(grid: Grid) -> Grid:
    """Without ranks, and without the marks of verdicts, whose words say the same."""
    kept = [i for i, column in enumerate(grid.columns) if column.title not in _LEFT_OUT]
    return Grid(
        grid.name,
        grid.caption,
        tuple(grid.columns[i] for i in kept),
        tuple(tuple(_unmarked(row[i]) for i in kept) for row in grid.rows),
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
