"""Groups in parts, and how large a part may be."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.harness.planning.cell import Cell
from steereval.harness.run.group_parts import (
    CORE_FLOPS,
    GPU_FLOPS,
    GROUP_SECONDS,
    largest_part,
    parts_of,
)

SHARED = 5.0
"""Cost of what the cells of one part share."""


@dataclass(frozen=True)
class FakeCell:
    arm: str
    number: int
    own_cost: float


def cost(cells: Sequence[Cell]) -> float:
    return SHARED + sum(cell.own_cost for cell in cells if isinstance(cell, FakeCell))


def cells_of(arms: list[list[float]]) -> list[Cell]:
    numbers = itertools.count()
    made = [FakeCell(f"arm {i}", next(numbers), c) for i, arm in enumerate(arms) for c in arm]
    return list[Cell](made)  # type: ignore[arg-type]  # what `parts_of` reads of a cell


@st.composite
def groups(draw: st.DrawFn) -> list[Cell]:
    costs = st.floats(0.1, 40)
    return cells_of(draw(st.lists(st.lists(costs, min_size=1, max_size=4), min_size=1, max_size=7)))


def fewest_parts(runs: list[list[Cell]], largest: float) -> int:
    """By trying every way to divide the runs."""
    for cuts in range(len(runs)):
        for where in itertools.combinations(range(1, len(runs)), cuts):
            bounds = itertools.pairwise([0, *where, len(runs)])
            parts = [list(itertools.chain(*runs[low:high])) for low, high in bounds]
            if all(len(part) == 1 or cost(part) <= largest for part in parts):
                return len(parts)
    raise AssertionError("one cell is always a part")


@given(groups(), st.floats(6, 120))
def test_parts_keep_cells_in_order_and_cost_at_most_the_limit(
    group: list[Cell], largest: float
) -> None:
    parts = parts_of(group, cost, largest)
    assert [cell for part in parts for cell in part] == group
    assert all(cost(part) <= largest or len(part) == 1 for part in parts)


@given(groups(), st.floats(6, 120))
def test_an_arm_is_divided_only_where_it_costs_more(group: list[Cell], largest: float) -> None:
    parts = parts_of(group, cost, largest)
    for arm in {cell.arm for cell in group}:
        same = [cell for cell in group if cell.arm == arm]
        if cost(same) <= largest:
            assert sum(any(cell in part for cell in same) for part in parts) == 1


@pytest.mark.slow
@given(groups(), st.floats(6, 120))
def test_there_are_as_few_parts_as_the_limit_allows(group: list[Cell], largest: float) -> None:
    runs: list[list[Cell]] = []
    for _, same in itertools.groupby(group, key=lambda cell: cell.arm):
        arm = list(same)
        runs += [arm] if cost(arm) <= largest else [[cell] for cell in arm]
    assert len(parts_of(group, cost, largest)) == fewest_parts(runs, largest)


def test_parts_cost_about_the_same() -> None:
    """Twelve arms of which ten fit make two parts of six, not one of ten and one of two."""
    group = cells_of([[1.0]] * 12)
    assert [len(part) for part in parts_of(group, cost, SHARED + 10)] == [6, 6]


@pytest.mark.parametrize(
    ("cores", "flops"), [(2, 2 * CORE_FLOPS), (64, 64 * CORE_FLOPS), (None, GPU_FLOPS)]
)
def test_a_part_takes_about_ten_minutes(cores: float | None, flops: float) -> None:
    assert largest_part(cores) * 1e12 / flops == pytest.approx(GROUP_SECONDS)
