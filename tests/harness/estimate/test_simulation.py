"""A grid's own groups on a simulated cluster."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_grid import small_grid

from steereval.common.errors import InputError
from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.estimate.simulation import (
    Machines,
    check_room,
    describe_simulation,
    work_items,
)
from steereval.harness.planning.known_cost import cost_about
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.preflight import prepare
from steereval.harness.run.group_work import READ_AGAIN, work_of
from steereval.ray_jobs.work import Work


@pytest.fixture
def grid(tiny_folder: str) -> Grid:
    return parse_grid(small_grid(tiny_folder))


@pytest.mark.slow
def test_works_are_those_of_a_run_without_limits(grid: Grid) -> None:
    """Costs are no seconds, so that a limit in seconds means nothing."""
    works = work_items(grid, make_plan(grid), None)
    prepared = prepare(grid, None, print)
    assert len(works) == 4
    assert sum(len(work.units) for work in works) == 42
    for work in works:
        real = work_of(work.units, prepared, grid.run)
        assert real.limit is not None
        assert work == dataclasses.replace(real, limit=None)


@pytest.mark.slow
def test_what_is_written_costs_by_its_length(grid: Grid) -> None:
    """So that it begins first: every token is fed when it is written, and for its perplexity."""
    prepared = prepare(grid, None, print)
    (shape,) = prepared.shapes.values()
    for work in work_items(grid, make_plan(grid), None):
        cost = cost_about(work.units, shape, prepared.sizes)
        twice = READ_AGAIN * cost.generated * shape.flops
        assert work.cost == pytest.approx((cost.flops + twice) / 1e12)
        assert bool(twice) == (work.units[0].task.name == "truthful_mini_gen")


def description(works: list[Work], machines: Machines) -> str:
    return "\n".join(describe_simulation(works, machines, 2, "hours"))


def test_one_gpu_ends_at_the_lower_bound(grid: Grid) -> None:
    works = work_items(grid, make_plan(grid), None)
    text = description(works, Machines(1, 1))
    total = sum(work.cost for work in works) + works[0].load
    assert f"it ends after {total:.4g} hours, 1.000 times the lower bound" in text
    assert "busy for 100%" in text
    assert "loaded 1 times, 1.000 times the least" in text
    assert "4 groups, 1 to load; 0% of the tries fail" in text


@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 40))
def test_more_nodes_end_no_earlier_than_the_bound(nodes: int, gpus: int, count: int) -> None:
    works = [Work(f"g{i}", (i,), 1.0 + i % 7, f"m{i % 3}", load=2.0) for i in range(count)]
    result = re.search(r"([\d.]+) times the lower bound", description(works, Machines(nodes, gpus)))
    assert result is not None
    assert float(result[1]) >= 1


def test_failures_are_played() -> None:
    works = [Work(f"g{i}", (i,), 1.0, "m", load=2.0) for i in range(200)]
    result = re.search(r"(\d+) workers die", description(works, Machines(2, 2, failures=0.2)))
    assert result is not None
    assert int(result[1]) > 0


def test_a_replica_larger_than_a_node(tiny_folder: str) -> None:
    data = small_grid(tiny_folder)
    data["models"][0]["gpus"] = 4
    grid = parse_grid(data)
    check_room(grid, 4)
    with pytest.raises(InputError, match=r"takes 4 GPUs, and a node has 2\. Raise --gpus-per-node"):
        check_room(grid, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nodes": 0}, "--simulate is 0"),
        ({"nodes": 1, "gpus": 0}, "--gpus-per-node is 0"),
        ({"nodes": 1, "failures": 1.0}, "--failures is 1"),
        ({"nodes": 1, "failures": -0.1}, r"--failures is -0\.1"),
        ({"nodes": 1, "failures": float("nan")}, "--failures is nan"),
    ],
)
def test_a_cluster_that_cannot_be(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Machines(**wrong)  # type: ignore[arg-type]
