"""The first sentence of a run: its work and the expected time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import torch

from steereval.harness.planning.groups import tasks_named
from steereval.ray_jobs.work import Work

EFFICIENCY = 0.55
"""Share of the speed of plain matrix products at which cells are answered on a CPU, as measured on
the quickstart grid."""
PROBE_SECONDS = 0.2
"""Least duration of the measurement of matrix products."""


def cheapest_tasks_first(works: Sequence[Work]) -> list[Work]:
    """`works`, ordered so that one worker completes one task after the other, the cheapest first.

    The cheapest work of a task comes first too, so that the first result appears early. Models keep
    their order.
    """
    cost: dict[tuple[str, str], float] = {}
    for work in works:
        key = _model_and_tasks(work)
        cost[key] = cost.get(key, 0.0) + work.cost
    models = list(dict.fromkeys(model for model, _ in cost))

    def place(work: Work) -> tuple[int, float, str, float]:
        model, tasks = _model_and_tasks(work)
        return models.index(model), cost[model, tasks], tasks, work.cost

    return sorted(works, key=place)


def opening(works: Sequence[Work], flops_per_second: float | None) -> str:
    """One sentence: how much is computed, and how long that takes.

    Args:
        works: What is run, in order; costs in 10^12 operations.
        flops_per_second: Speed of matrix products; None where it is not known.
    """
    cells = sum(len(work.units) for work in works)
    total = sum(work.cost for work in works) + max(work.load for work in works)
    text = f"computing {cells} cells in {len(works)} groups: {total:.3g} TFLOP"
    if flops_per_second is None:
        return text

    def minutes(operations: float) -> str:
        seconds = operations * 1e12 / (EFFICIENCY * flops_per_second)
        return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"

    text += f", about {minutes(total)} on this machine"
    tasks = list(itertools.groupby(works, key=_model_and_tasks))
    if len(tasks) > 1:
        first, same = works[0], _model_and_tasks(works[0])
        cost = first.load + sum(w.cost for w in works if _model_and_tasks(w) == same)
        text += f"; verdicts of {tasks_named(first.units)} after about {minutes(cost)}"
    return text


def product_speed() -> float:
    """Operations a second of float32 matrix products on this CPU."""
    matrix, count = torch.ones(768, 768), 0
    torch.mm(matrix, matrix)
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < PROBE_SECONDS:
        torch.mm(matrix, matrix)
        count += 1
    return 2 * 768**3 * count / seconds


def _model_and_tasks(work: Work) -> tuple[str, str]:
    cell = work.units[0]
    return cell.model.name, tasks_named(work.units)
