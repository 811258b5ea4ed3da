"""Which cells are answered together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.groups import GROUP_ARMS, group_id, groups
from steereval.harness.planning.plan import make_plan


def plan(**changes: Any) -> list[Any]:
    data: dict[str, Any] = {
        "name": "groups",
        "models": [{"name": "any", "layers": [1, 2]}, {"name": "other", "layers": [3]}],
        "contrast": "truthful-mini",
        "methods": ["none", {"name": "caa", "strengths": [1, 2, 3]}],
        "tasks": ["truthful_mini_mc", "truthful_mini_gen"],
    }
    return make_plan(parse_grid(data | changes))


@pytest.mark.slow
@given(st.integers(1, 40))
def test_every_cell_is_in_one_group(count: int) -> None:
    """Of bounded size, with cells of one model, one task and one set of layers."""
    strengths = [float(index + 1) for index in range(count)]
    cells = plan(methods=["none", {"name": "caa", "strengths": strengths}])
    result = groups(cells)
    assert sorted(c.id for group in result for c in group) == sorted(c.id for c in cells)
    for group in result:
        assert 1 <= len(group) <= GROUP_ARMS
        assert len({(c.model.name, c.task.name) for c in group}) == 1
        assert len({c.layer for c in group} - {""}) <= 1


def test_the_unsteered_cell_goes_with_steered_ones() -> None:
    for group in groups(plan()):
        assert len({cell.label for cell in group}) == 2 or group[0].layer == "2"
    assert all(len(group) == 1 for group in groups(plan(methods=["none"])))


def test_repetitions_are_answered_by_themselves() -> None:
    """So that they meet other neighbours; the groups of all others stay what they were."""
    before, after = groups(plan()), groups(plan(noise_floor="caa"))
    alone = [group for group in after if group[0].is_repeat]
    assert [group for group in after if not group[0].is_repeat] == before
    assert all(cell.is_repeat for group in alone for cell in group)
    assert [len(group) for group in alone] == [2] * 4


def test_a_group_is_named_by_its_cells() -> None:
    first, second, *_ = groups(plan())
    assert group_id(first) == group_id(tuple(reversed(first)))
    assert group_id(first) != group_id(second)
    assert group_id(first) != group_id(first[1:])
