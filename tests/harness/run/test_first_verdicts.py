"""What a run says at its start, and once its first task is complete."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small_grid import small_grid

from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.groups import groups
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.driver import run_grid
from steereval.harness.run.opening import EFFICIENCY, cheapest_tasks_first, opening
from steereval.ray_jobs.work import Work


def grid_data(model: str, **changes: Any) -> dict[str, Any]:
    data = small_grid(model, methods=["none", {"name": "caa", "strengths": [1]}], **changes)
    data["models"] = [{"name": model, "layers": [0]}]
    return data


def run(data: dict[str, Any], out: Path, form: Any) -> list[str]:
    said: list[str] = []
    assert run_grid(parse_grid(data), out, None, said.append, form).failed == ()
    return said


@pytest.mark.slow
def test_verdicts_of_the_first_task_come_before_the_cells_of_the_second(
    tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(grid_data(tiny_folder), tmp_path / "run", "lines")
    assert sum("6 cells in 2 groups" in line for line in said) == 1
    lines = capsys.readouterr().err.splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith("Preliminary: ")]
    first = re.findall(r"truthful_mini_\w+", lines[place])[0]
    cells = [(i, line) for i, line in enumerate(lines) if re.match(r"\[\d+/6\]", line)]
    assert all((first in line) == (i < place) for i, line in cells)
    assert any(line.startswith("caa") and first in line for line in lines[place:])


@pytest.mark.slow
def test_one_task_has_no_preliminary_verdicts(
    tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [{"name": "truthful_mini_mc", "limit": 4}]
    run(grid_data(tiny_folder, tasks=tasks), tmp_path / "run", "lines")
    assert "Preliminary" not in capsys.readouterr().err


@pytest.mark.slow
def test_every_line_of_json_is_a_state(
    tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(grid_data(tiny_folder), tmp_path / "run", "json")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line[:1] == "{"]
    assert {line["state"] for line in lines} == {"running", "ended"}


def works(costs: Sequence[float]) -> list[Work]:
    """A work for each group of a grid of two tasks, with a cost per unit of work."""
    cell_groups = groups(make_plan(parse_grid(small_grid("m"))))
    return [
        Work(str(i), g, c, "m", load=1.0)
        for i, (g, c) in enumerate(zip(cell_groups, costs, strict=True))
    ]


def test_the_cheapest_task_comes_first_and_tasks_stay_together() -> None:
    given = works([5.0, 1.0, 2.0, 2.0])
    ordered = cheapest_tasks_first(given)
    tasks = [work.units[0].task.name for work in ordered]
    assert tasks == sorted(tasks, key=tasks.index)
    cost = {task: sum(w.cost for w in given if w.units[0].task.name == task) for task in tasks}
    assert cost[tasks[0]] == min(cost.values())


def test_the_cheapest_group_of_a_task_comes_first() -> None:
    ordered = cheapest_tasks_first(works([5.0, 1.0, 2.0, 7.0]))
    by_task: dict[str, list[float]] = {}
    for work in ordered:
        by_task.setdefault(work.units[0].task.name, []).append(work.cost)
    assert all(costs == sorted(costs) for costs in by_task.values())
    assert sum(len(costs) > 1 for costs in by_task.values()) >= 1


def test_the_opening_states_the_time_at_the_speed_of_products() -> None:
    given = cheapest_tasks_first(works([30.0, 30.0, 10.0, 10.0]))
    text = opening(given, 1e12 / EFFICIENCY)
    assert "81 TFLOP" in text
    assert "81 s" in text
    assert "21 s" in text
    assert " s" not in opening(given, None).removeprefix("computing").partition("groups")[2]
