"""The card of a grid's task: its own metrics, and those of its judges."""

from __future__ import annotations

import dataclasses

from steereval.harness.config.grid import Grid, TaskSpec
from steereval.tasks.catalogue.cards import TaskCard, card
from steereval.tasks.judges.registry import judged_metrics


def known_card(task: TaskSpec) -> TaskCard:
    """The card of `task` by itself, without what its judges measure."""
    return card(task.name, task.include_hash)


def card_of(grid: Grid, task: TaskSpec) -> TaskCard:
    """The card of `task` with what its judges measure in this grid; a stand-in measures nothing."""
    known = known_card(task)
    unsteered = any(
        method.name == "none" and (not method.tasks or task.name in method.tasks)
        for method in grid.methods
    )
    added = judged_metrics(_judges(task), unsteered)
    return dataclasses.replace(known, metrics={**known.metrics, **added})


def claimed(task: TaskSpec) -> frozenset[str]:
    """Metrics that only the judges of `task` give: its own of these names are not stored."""
    return frozenset(judged_metrics(_judges(task), True))


def _judges(task: TaskSpec) -> list[str]:
    return [judge.name for judge in task.judges if not judge.is_stand_in]
