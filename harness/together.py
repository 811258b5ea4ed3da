"""What the tasks of a group of cells ask: what several of them ask is asked once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from steereval.plan import Cell
from steereval.replay import Asked


@dataclass(frozen=True)
class Joined:
    """The requests of several tasks, none of them twice."""

    requests: list[Instance]
    """All of them."""
    places: Mapping[str, list[int]]
    """{task: where each of its requests stands among all}."""

    def of(self, task: str, values: Sequence[Any]) -> tuple[list[Instance], list[Any]]:
        """The requests of a task in its order, and those of `values`, one for each request."""
        places = self.places[task]
        return [self.requests[i] for i in places], [values[i] for i in places]


def joined(asked: Mapping[str, Sequence[Instance]]) -> Joined:
    """The requests {task: requests} together.

    What a task asks more than once is drawn or scored as often; what another task asks as well is
    not, for tasks are asked together only if they are of one family and their documents the same.
    """
    found: dict[tuple[Any, int], int] = {}
    requests: list[Instance] = []
    places: dict[str, list[int]] = {}
    for task, own in asked.items():
        seen: Counter[Any] = Counter()
        places[task] = []
        for request in own:
            text = repr(request.args)
            key = text, seen[text]
            seen[text] += 1
            if key not in found:
                found[key] = len(requests)
                requests.append(request)
            places[task].append(found[key])
    return Joined(requests, places)


def wanted(cells: Sequence[Cell], evaluate: Callable[[Cell], object]) -> dict[str, Joined]:
    """By kind what the tasks of `cells` ask that is not answered yet, one cell for each task.

    `evaluate` lets lm-eval evaluate a cell, and raises Asked.
    """
    asked: dict[str, dict[str, Sequence[Instance]]] = {}
    for cell in cells:
        try:
            evaluate(cell)
        except Asked as found:
            asked.setdefault(found.kind, {})[cell.task.name] = found.requests
    return {kind: joined(by_task) for kind, by_task in asked.items()}


def one_of_each_task(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of each task."""
    return list({cell.task.name: cell for cell in reversed(cells)}.values())[::-1]


def one_of_each_arm(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of each arm."""
    return list({cell.arm: cell for cell in reversed(cells)}.values())[::-1]


def tasks_named(cells: Sequence[Cell]) -> str:
    """The names of the cells' tasks."""
    return "+".join(dict.fromkeys(cell.task.name for cell in cells))
