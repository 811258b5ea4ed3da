"""Side effects of steering in the row of a gain: texts, their perplexity, capability tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steereval.results.analysis import wording
from steereval.results.analysis.collapse import DISTINCT, SHOWN_DISTINCT, companions
from steereval.results.analysis.leaderboard import Row
from steereval.results.report.summary import MARKS, tone_of
from steereval.results.report.tables.leaderboard import brief_strengths
from steereval.results.report.tables.table import Remark


def side_effects(row: Row, rows: Sequence[Row]) -> Iterator[Remark]:
    """The side effects of one primary row, among all `rows` of the leaderboard.

    Companions of the task at the row's own strength first, then capability tasks; one that was
    measured at another strength says at which.
    """
    same = [r for r in rows if (r.model, r.name) == (row.model, row.name)]
    here = [r for r in same if r.task.name == row.task.name]
    shown = {metric.name for metric in companions(row.task, [r.metric for r in here])}
    for other in here:
        name = other.metric.name
        repeats = name.startswith(DISTINCT) and name != SHOWN_DISTINCT
        if name in shown and not repeats and not other.is_primary:
            yield from _measured(other, name)
    if row.task.is_target:
        for other in _capabilities(row, rows):
            at = "" if other.strengths == row.strengths else _at(other)
            yield from _measured(other, f"{other.task.name} · {other.metric.name}{at}")


def _capabilities(row: Row, rows: Sequence[Row]) -> Iterator[Row]:
    """Primary rows of capability tasks of the same arm; at the row's own strength if there are
    rows of several."""
    capability_rows = [
        other
        for other in rows
        if not other.task.is_target
        and other.is_primary
        and (other.model, other.arm) == (row.model, row.arm)
    ]
    for task in dict.fromkeys(other.task.name for other in capability_rows):
        task_rows = [other for other in capability_rows if other.task.name == task]
        exact = [other for other in task_rows if other.strengths == row.strengths]
        yield from exact[:1] or (task_rows if len(task_rows) == 1 else [])


def _at(row: Row) -> str:
    return f" at strength {brief_strengths(row)}"


def _measured(row: Row, name: str) -> Iterator[Remark]:
    if row.comparison is not None:
        tone = tone_of(row)
        words = wording.difference(row.comparison.effect, row.metric).replace(" points", "")
        yield Remark(f"{MARKS[tone]} {name} {words}", tone)
