"""Groups divided into parts of about ten minutes: a kill loses one part. A cell is not divided."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import groups
from steereval.harness.planning.preflight import Prepared
from steereval.harness.run.group_work import cost_of

GROUP_SECONDS = 600
"""Most seconds that a part is expected to take."""
CORE_FLOPS, GPU_FLOPS = 5e10, 1e14
"""Operations a second for that expectation, of a slow core and of an A100. They are constants,
since the parts of a run must not depend on what else a machine does."""

Cost = Callable[[Sequence[Cell]], float]
"""Operations that answer cells together, in 10^12."""


def largest_part(cores: float | None) -> float:
    """Operations, in 10^12, that a worker with so many cores is expected to compute within
    `GROUP_SECONDS`; None: a worker with a GPU."""
    speed = GPU_FLOPS if cores is None else cores * CORE_FLOPS
    return speed * GROUP_SECONDS / 1e12


def all_parts(cells: Sequence[Cell], prepared: Prepared, largest: float) -> list[tuple[Cell, ...]]:
    """The parts of all groups of `cells`, each of which a worker answers together."""
    cost = partial(cost_of, prepared=prepared)
    return [part for group in groups(cells) for part in parts_of(group, cost, largest)]


def parts_of(group: Sequence[Cell], cost: Cost, largest: float) -> list[tuple[Cell, ...]]:
    """The group in as few parts as cost `largest` at most, of about equal costs.

    An arm is divided only where it alone costs more; a cell that costs more is a part of its own.
    Parts share less work than the group does, so that their costs add up to more than its cost.
    """
    if cost(group) <= largest:
        return [tuple(group)]
    runs = list(_undivided(group, cost, largest))
    parts = _filled(runs, cost, largest)
    low, high = largest / len(parts), largest
    while high - low > 0.01 * largest:
        middle = (low + high) / 2
        smaller = _filled(runs, cost, middle)
        if len(smaller) == len(parts):
            parts, high = smaller, middle
        else:
            low = middle
    return parts


def _undivided(group: Sequence[Cell], cost: Cost, largest: float) -> Iterator[list[Cell]]:
    """Cells that stay together: whole arms, or single cells of an arm that costs too much."""
    for _, same in itertools.groupby(group, key=lambda cell: cell.arm):
        arm = list(same)
        if cost(arm) <= largest:
            yield arm
        else:
            yield from ([cell] for cell in arm)


def _filled(runs: Sequence[Sequence[Cell]], cost: Cost, largest: float) -> list[tuple[Cell, ...]]:
    """The runs in order, each in the part of its predecessor while that costs `largest` at most."""
    parts: list[tuple[Cell, ...]] = []
    for run in runs:
        longer = (*parts[-1], *run) if parts else tuple(run)
        if parts and cost(longer) <= largest:
            parts[-1] = longer
        else:
            parts.append(tuple(run))
    return parts
