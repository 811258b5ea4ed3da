"""The size of each task of a grid, and the effect that the grid can detect there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steereval.common.errors import SteerEvalError
from steereval.harness.config.grid import Grid
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.known_cost import known_size
from steereval.harness.planning.task_cards import known_card
from steereval.harness.planning.task_resources import TaskResources
from steereval.results.stats import least_p, minimum_detectable_effect
from steereval.tasks.catalogue.cards import categories_of, cluster_in
from steereval.tasks.catalogue.task_group import scored_documents

DISCORDANT = 0.2
"""Assumed share of items on which a method and the baseline differ, for a binary metric."""


@dataclass(frozen=True)
class OutOfReach:
    """Why no outcome of a task can be significant."""

    units: int
    """Independent units of the test."""
    kind: str
    """Kind of units: `items` or `clusters`."""
    least_p: float
    """Smallest p-value that the units allow."""
    level: float
    """Level that the smallest of all p-values must reach."""
    tests: int
    """Size of the family."""
    enough: int
    """Units with which the level could be reached."""


@dataclass(frozen=True)
class TaskOutlook:
    """Size and detectable effect of one task."""

    name: str
    """The task."""
    cells: int
    """Cells of the task."""
    items: int
    """Items of each cell."""
    validation: int
    """Items among them on which strengths are chosen."""
    is_counted: bool
    """Whether the items were counted in the data; else the task's card gives their number."""
    detectable: float
    """Smallest difference with a power of 80 %, on the test items, as a share (0.05: 5 points).

    For a binary metric of which DISCORDANT of the items change, with seeds alike.
    """
    out_of_reach: OutOfReach | None = None
    """Set where no outcome can be significant."""

    @property
    def test(self) -> int:
        """Items on which arms are compared."""
        return self.items - self.validation


@dataclass(frozen=True)
class UnknownTask:
    """A task whose size is unknown."""

    name: str
    """The task."""
    reason: str
    """Why it is unknown."""


def task_outlooks(
    grid: Grid, cells: Sequence[Cell], resources: TaskResources
) -> Iterator[TaskOutlook | UnknownTask]:
    """The outlook of each task of a grid, in its order.

    Args:
        grid: The grid.
        cells: Its cells.
        resources: The tasks' data, where at hand.
    """
    for task in grid.tasks:
        task_cells = [cell for cell in cells if cell.task.name == task.name]
        try:
            scored = scored_documents(resources.task(task_cells[0]), task.limit)
            items, is_counted = sum(1 for _ in scored), True
        except SteerEvalError as error:
            known = known_size(task_cells[0])
            if known is None:
                yield UnknownTask(task.name, str(error))
                continue
            items, is_counted = int(min(task.limit or math.inf, known.documents)), False
        share = grid.select.share if grid.select else 0.0
        validation = min(math.ceil(share * items), items - 1)
        test = items - validation
        yield TaskOutlook(
            task.name,
            len(task_cells),
            items,
            validation,
            is_counted,
            minimum_detectable_effect(DISCORDANT, 0.0, 0.0, test, len(grid.seeds.fit)),
            _out_of_reach(grid, cells, test, _clusters(task_cells[0], resources)),
        )


def _clusters(cell: Cell, resources: TaskResources) -> int | None:
    """Number of clusters of a task's items; None where its documents are not at hand."""
    try:
        task, described = resources.task(cell), known_card(cell.task)
        categories = categories_of(task)
        clusters = [
            subtask or cluster_in(described, document, categories)
            for subtask, document in scored_documents(task, cell.task.limit)
        ]
    except SteerEvalError:
        return None
    return len({cluster or str(number) for number, cluster in enumerate(clusters)})


def _out_of_reach(
    grid: Grid, cells: Sequence[Cell], items: int, clusters: int | None
) -> OutOfReach | None:
    """Why no outcome of a task could be significant; None where one could.

    With one fit seed no p-value is below that of sign flips over the clusters; the correction
    multiplies the smallest by the number of tests, the arms times the target tasks.
    """
    units = items if clusters is None else min(items, clusters)
    if len(grid.seeds.fit) > 1 or units < 1:
        return None
    arms = {cell.arm for cell in cells if cell.method.name != grid.analysis.baseline}
    tests = max(1, len(arms) * sum(task.role == "target" for task in grid.tasks))
    alpha, least = 1.0 - grid.analysis.confidence, least_p(units)
    if least * tests < alpha:
        return None
    return OutOfReach(
        units,
        "items" if clusters is None or clusters >= items else "clusters",
        least,
        alpha / tests,
        tests,
        math.floor(1.0 - math.log2(alpha / tests)) + 1,
    )
