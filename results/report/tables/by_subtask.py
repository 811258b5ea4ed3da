"""The table of a group's subtasks."""

from __future__ import annotations

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.by_subtask import SubtaskScores
from steereval.results.report.tables.leaderboard import brief_strengths, unit_words
from steereval.results.report.tables.table import Column, Entry, ReportTable

EXPLORATORY = (
    "Scores of a group's subtasks on test items, without tests: they explain the group's score and "
    "make no claim. The subtasks are the clusters of the group's statistics."
)


def by_subtask_table(found: SubtaskScores) -> ReportTable:
    """A line for each subtask: its items, the baseline's score, and each arm's with its change."""
    heads = [
        Column(row.name if row.is_baseline else f"{row.name} · {brief_strengths(row)}", True)
        for row in found.rows
    ]
    columns = (Column("Subtask"), Column("Items", True), *heads)
    lines = tuple(
        (Entry(name), Entry(str(count), count), *_scores(found, name))
        for name, count in found.n_items.items()
    )
    caption = (
        f"{found.model}: {found.task.name} by subtask · {found.metric.name} "
        f"({unit_words(found.metric)})"
    )
    name = f"{slug(found.model, found.task.name, found.metric.name)}-subtasks"
    return ReportTable(name, caption, columns, lines)


def _scores(found: SubtaskScores, name: str) -> list[Entry]:
    scale = wording.scale_of(found.metric)
    decimals = 1 if found.metric.in_points else 3
    means = found.means[name]
    base = next((m for row, m in zip(found.rows, means, strict=True) if row.is_baseline), None)
    return [
        Entry(
            wording.number(scale * mean, decimals),
            mean,
            note=""
            if row.is_baseline or base is None
            else wording.number(scale * (mean - base), decimals, True),
        )
        for row, mean in zip(found.rows, means, strict=True)
    ]
