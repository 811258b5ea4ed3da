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


def by_subtask_table(scores: SubtaskScores) -> ReportTable:
    """A line for each subtask: its items, the baseline's score, and each arm's with its change."""
    heads = [
        Column(row.name if row.is_baseline else f"{row.name} · {brief_strengths(row)}", True)
        for row in scores.rows
    ]
    columns = (Column("Subtask"), Column("Items", True), *heads)
    lines = tuple(
        (Entry(name), Entry(str(count), count), *_scores(scores, name))
        for name, count in scores.n_items.items()
    )
    caption = (
        f"{scores.model}: {scores.task.name} by subtask · {scores.metric.name} "
        f"({unit_words(scores.metric)})"
    )
    name = f"{slug(scores.model, scores.task.name, scores.metric.name)}-subtasks"
    return ReportTable(name, caption, columns, lines)


def _scores(scores: SubtaskScores, name: str) -> list[Entry]:
    scale = wording.scale_of(scores.metric)
    decimals = 1 if scores.metric.in_points else 3
    means = scores.means[name]
    base = next((m for row, m in zip(scores.rows, means, strict=True) if row.is_baseline), None)
    return [
        Entry(
            wording.number(scale * mean, decimals),
            mean,
            note=""
            if row.is_baseline or base is None
            else wording.number(scale * (mean - base), decimals, True),
        )
        for row, mean in zip(scores.rows, means, strict=True)
    ]
