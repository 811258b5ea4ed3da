"""The section on strengths: scores at each, where methods collapse, how one was chosen."""

from __future__ import annotations

from collections.abc import Mapping

from steereval.common.text import slug
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.analysis.strength_response import StrengthPoint
from steereval.results.report.blocks import Block, Fold, Section, Text, figures
from steereval.results.report.plots.figures import (
    FigureGroup,
    Key,
    group_choosings,
    group_collapses,
)
from steereval.results.report.tables.collapse import RULE, collapse_table, collapse_words
from steereval.results.report.tables.secondary import response_table
from steereval.results.report.tables.winners_curse import (
    EXPLANATION,
    NOTHING_CHOSEN,
    winners_curse_table,
)

EXPLORATORY = (
    "Scores on test items at every strength of the grid: exploratory. They explain a result and "
    "never choose one."
)


def strengths_section(analysis: Analysis, groups: Mapping[str, FigureGroup]) -> Section:
    """Strength response and collapse, then the choice of strengths."""
    fallen = group_collapses(analysis)
    words = tuple(text for each in fallen.values() for text in collapse_words(each))
    collapse: tuple[Block, ...] = tuple(Text(text) for text in words)
    if fallen:
        tables = tuple(collapse_table(each) for each in fallen.values())
        collapse += (Text(RULE, "explain"), Fold("Collapse, as a table", tables))
    blocks: tuple[Block, ...] = (
        Text(EXPLORATORY, "explain"),
        *collapse,
        *_figures(groups["collapse"]),
        *_figures(groups["responses"]),
        *_responses(analysis),
        *_choice(analysis, groups["choosing-figures"]),
    )
    return Section("strengths", "Strength and collapse", blocks, _hint(analysis))


def _hint(analysis: Analysis) -> str:
    fallen = {(c.model, c.arm.label) for c in analysis.collapses if c.begins is not None}
    if fallen:
        n = len(fallen)
        return f"{n} method{'s' if n > 1 else ''} collapse{'s' if n == 1 else ''}"
    if analysis.collapses:
        return "no method collapses within its strengths"
    return "scores at every strength"


def _figures(group: FigureGroup) -> tuple[Block, ...]:
    caption = (Text(group.caption, "explain"),) if group.pictures else ()
    return (*figures(group.pictures, group.absences), *caption)


def _responses(analysis: Analysis) -> tuple[Block, ...]:
    groups: dict[Key, list[StrengthPoint]] = {}
    for point in analysis.responses:
        key = (point.model, point.task.name, point.metric.name)
        groups.setdefault(key, []).append(point)
    confidence = analysis.plan.confidence
    tables = tuple(response_table(each, slug(*key), confidence) for key, each in groups.items())
    return (Fold("Scores at every strength, as tables", tables),) if tables else ()


def _choice(analysis: Analysis, group: FigureGroup) -> tuple[Block, ...]:
    groups = group_choosings(analysis)
    if not groups:
        return (Text(NOTHING_CHOSEN, "absent"),)
    tables = tuple(winners_curse_table(each) for each in groups.values())
    return (
        Fold(
            "What the choice of strengths was worth: the winner’s curse",
            (Text(EXPLANATION, "explain"), *_figures(group), *tables),
            anchor="choosing",
        ),
    )
