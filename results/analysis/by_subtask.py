"""The scores of a group's subtasks: what its score is made of. Exploratory, without tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.inputs import Source
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.pairing import Setting, one_side
from steereval.results.analysis.scores import TaskScores
from steereval.results.stats.effect import Floats
from steereval.results.store.manifest import RATIO, Metric, Task


@dataclass(frozen=True)
class SubtaskScores:
    """The primary metric of a group by subtask."""

    model: str
    """The model's label."""

    task: Task
    """The group."""

    metric: Metric
    """Its primary metric."""

    rows: tuple[Row, ...]
    """The rows of the leaderboard that have scores, the baseline first."""

    n_items: dict[str, int]
    """{subtask: its test items that every arm has}."""

    means: dict[str, tuple[float, ...]]
    """{subtask: mean score of each of `rows`, over its items and fit seeds}."""


def by_subtask(rows: Sequence[Row], source: Source) -> Iterator[SubtaskScores]:
    """The scores by subtask of every group, in the order of the leaderboard.

    Args:
        rows: The leaderboard.
        source: What it is made from.

    Yields:
        The primary metric of each model and group; nothing for a ratio.
    """
    tables: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.task.subtasks and row.is_primary and row.metric.kind != RATIO:
            tables.setdefault((row.model, row.task.name), []).append(row)
    for key, table in tables.items():
        shown = [row for row in table if row.score is not None]
        if shown:
            yield _of_table(shown, source.scores[key])


def _of_table(rows: Sequence[Row], scores: TaskScores) -> SubtaskScores:
    first = rows[0]
    tested = scores.tested(first.metric.name)
    names = np.array([item.rpartition(":")[0] for item in scores.item_ids], dtype=object)
    values = [column for row in rows if (column := _item_means(row, scores)) is not None]
    measured = tested & ~np.isnan(np.column_stack(values)).any(axis=1)
    n_items, means = {}, {}
    for name in first.task.subtasks:
        items = measured & (names == name)
        if items.any():
            n_items[name] = int(items.sum())
            means[name] = tuple(float(column[items].mean()) for column in values)
    return SubtaskScores(first.model, first.task, first.metric, tuple(rows), n_items, means)


def _item_means(row: Row, scores: TaskScores) -> Floats | None:
    """[items], means over the fit seeds of a row; NaN where a seed lacks the item."""
    side = one_side(scores, Setting(row.arm, row.strengths), row.metric.name, ratio=False)
    return None if side is None else side.values.mean(axis=1)
