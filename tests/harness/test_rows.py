"""Item rows from lm-eval's samples."""

from __future__ import annotations

from typing import Any

from steereval.plan import make_plan
from steereval.results.samples import without_direction
from steereval.rows import directions, item_rows
from steereval.spec import parse_grid
from steereval.tasks.catalogue import MetricCard, TaskCard


class Task:
    """Says of `acc` which way is better, and of what else it scores nothing."""

    def higher_is_better(self) -> dict[str, bool]:
        return {"acc": True}


def sample(**scores: Any) -> dict[str, Any]:
    return {"doc_id": 0, "doc": {"q": "?"}, "doc_hash": "ab" * 32, "filter": "none",
            "metrics": list(scores), **scores}  # fmt: skip


def test_a_score_without_a_direction_gives_no_row() -> None:
    """lm-eval takes the mean of whatever a task gives; nobody says which way is better."""
    grid = {"name": "g", "models": [{"name": "m", "layers": [0]}], "methods": ["none"],
            "tasks": ["truthful_mini_mc"]}  # fmt: skip
    (cell,) = make_plan(parse_grid(grid))
    odd = MetricCard("continuous", False)
    described = TaskCard("realtoxicity_mini", "", "acc", {"odd": odd}, "target")
    samples = [sample(acc=1.0, odd=2.0, length=7)]
    rows = list(item_rows(cell, described, samples, lambda _: None, Task()))
    assert [(r["metric"], r["higher_is_better"]) for r in rows] == [("acc", True), ("odd", False)]
    assert without_direction(samples, directions(described, Task())) == ["length"]
