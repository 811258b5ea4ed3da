"""What a grid costs and what it can show, before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from steereval.errors import SteerEvalError
from steereval.plan import Cell
from steereval.results.stats import minimum_detectable_effect
from steereval.spec import Grid
from steereval.tasks.catalogue import load_tasks

DISCORDANT = 0.2
"""Assumed share of items on which a method and the baseline differ, for a binary metric."""


def describe(grid: Grid, cells: Sequence[Cell], data_dir: Path | None) -> Iterator[str]:
    """Lines about each task: items, requests over all cells, and the detectable effect."""
    for task in grid.tasks:
        own = [cell for cell in cells if cell.task.name == task.name]
        try:
            loaded = load_tasks([task.name], data_dir)[task.name]
        except SteerEvalError as error:
            yield f"{task.name}: size unknown, {error}"
            continue
        items = min(task.limit or math.inf, len(loaded.eval_docs))
        share = grid.select.share if grid.select else 0.0
        validation = min(math.ceil(share * items), int(items) - 1)
        yield (
            f"{task.name}: {int(items)} items ({validation} for choosing strengths, "
            f"{int(items) - validation} for the test) x {len(own)} cells = "
            f"{int(items) * len(own)} item scores"
        )
        yield "  " + _detectable(int(items) - validation, len(grid.seeds.fit))


def _detectable(items: int, seeds: int) -> str:
    effect = minimum_detectable_effect(DISCORDANT, 0.0, 0.0, items, seeds)
    return (
        f"detects {100 * effect:.1f} points or more with 80 % power (a binary metric, "
        f"{DISCORDANT:.0%} of the answers changed, seeds alike)"
    )
