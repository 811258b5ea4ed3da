"""Groups of cells that a worker answers together."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

from steereval.common.text import short_hash
from steereval.harness.config.grid import TaskSpec
from steereval.harness.planning.cell import Cell
from steereval.tasks.catalogue.cards import family_of

GROUP_ARMS = 16
"""Most arms that are answered together: what a kill can cost, and what memory must hold."""


def groups(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """The cells that are answered together: they share a model, a task's requests and layers, or
    those of tasks of one family.

    Unsteered cells go with the first steered ones, repetitions by themselves. What is together does
    not depend on how many workers there are.
    """
    tasks: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        model = cell.model.without_layers()
        shared = repr((model, _asks(cell.task), cell.fewshot_seed, cell.is_repeat))
        tasks.setdefault(shared, {}).setdefault(cell.layer, []).append(cell)
    all_groups: list[tuple[Cell, ...]] = []
    for layers in tasks.values():
        plain = layers.pop("", [])
        first, *others = list(layers.values()) or [[]]
        for alike in ([*plain, *first], *others):
            all_groups += _parts(alike)
    return all_groups


def _asks(task: TaskSpec) -> TaskSpec:
    """The same for tasks that are asked together."""
    return dataclasses.replace(task, name=family_of(task.name, task.include_hash))


def _parts(cells: Sequence[Cell]) -> Iterator[tuple[Cell, ...]]:
    """Cells in parts of as many arms as are answered together, those of an arm side by side."""
    arms: dict[str, list[Cell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    rows = list(arms.values())
    size = math.ceil(len(rows) / math.ceil(len(rows) / GROUP_ARMS))
    for start in range(0, len(rows), size):
        yield tuple(itertools.chain(*rows[start : start + size]))


def group_id(cells: Sequence[Cell]) -> str:
    """Hash of the cells' ids: 16 hexadecimal digits."""
    ids = " ".join(sorted(cell.id for cell in cells))
    return short_hash(ids)


def one_of_each_task(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of each task."""
    return list({cell.task.name: cell for cell in reversed(cells)}.values())[::-1]


def one_of_each_arm(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of each arm."""
    return list({cell.arm: cell for cell in reversed(cells)}.values())[::-1]


def tasks_named(cells: Sequence[Cell]) -> str:
    """The names of the cells' tasks."""
    return "+".join(dict.fromkeys(cell.task.name for cell in cells))
