"""Requests of the tasks of a group of cells; shared requests are asked once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from steereval.harness.engine.replay import Asked
from steereval.harness.planning.cell import Cell


@dataclass(frozen=True)
class MergedRequests:
    """The requests of several tasks, none of them twice."""

    requests: list[Instance]
    """All of them."""
    indices: Mapping[str, list[int]]
    """{task: where each of its requests stands among all}."""

    def of(self, task: str, values: Sequence[Any]) -> tuple[list[Instance], list[Any]]:
        """The requests of a task in its order, and those of `values`, one for each request."""
        indices = self.indices[task]
        return [self.requests[i] for i in indices], [values[i] for i in indices]


def merge_requests(by_task: Mapping[str, Sequence[Instance]]) -> MergedRequests:
    """The requests {task: requests} together.

    What a task asks more than once is drawn or scored as often; what another task asks as well is
    not, for tasks are asked together only if they are of one family and their documents the same.
    """
    index_of: dict[tuple[Any, int], int] = {}
    requests: list[Instance] = []
    indices: dict[str, list[int]] = {}
    for task, task_requests in by_task.items():
        seen: Counter[Any] = Counter()
        indices[task] = []
        for request in task_requests:
            text = repr(request.args)
            key = text, seen[text]
            seen[text] += 1
            if key not in index_of:
                index_of[key] = len(requests)
                requests.append(request)
            indices[task].append(index_of[key])
    return MergedRequests(requests, indices)


def wanted(cells: Sequence[Cell], evaluate: Callable[[Cell], object]) -> dict[str, MergedRequests]:
    """By kind what the tasks of `cells` ask that is not answered yet, one cell for each task.

    `evaluate` lets lm-eval evaluate a cell, and raises Asked.
    """
    by_kind: dict[str, dict[str, Sequence[Instance]]] = {}
    for cell in cells:
        try:
            evaluate(cell)
        except Asked as question:
            by_kind.setdefault(question.kind, {})[cell.task.name] = question.requests
    return {kind: merge_requests(by_task) for kind, by_task in by_kind.items()}
