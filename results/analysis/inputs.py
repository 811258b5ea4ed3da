"""Inputs of an analysis: the plan, the scores and the measurements of one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steereval.results.analysis.pairing import Setting
from steereval.results.analysis.scores import Arm, Seed, TaskScores
from steereval.results.store.cell_record import CellKey
from steereval.results.store.manifest import Metric, Plan, Task


@dataclass(frozen=True)
class Cost:
    """Measured cost of running, as far as the cells' records have it.

    Cells share work, and whoever comes first does it, so these figures say what this run cost and
    not what steering costs.
    """

    tokens_per_second: float | None
    """Mean over the cells of the row."""

    seconds: float | None
    """Mean wall-clock time of a cell."""


@dataclass(frozen=True)
class Source:
    """All that rows are made from."""

    plan: Plan
    """The plan."""

    scores: Mapping[tuple[str, str], TaskScores]
    """{(model, task): scores} of the finished cells."""

    measured: Mapping[str, Mapping[str, Any]]
    """{cell id: times, speed and displacement from its record}."""

    @property
    def models(self) -> list[str]:
        """The planned models, in the order of the grid."""
        return list(dict.fromkeys(cell.model for cell in self.plan.cells))

    def tables(self) -> Iterator[tuple[str, Task, Metric]]:
        """Every model, task and metric that has a leaderboard, in the order of the grid."""
        for model in self.models:
            for task in self.plan.tasks.values():
                if self.planned_arms(model, task.name):
                    for metric in self.metrics(model, task):
                        yield model, task, metric

    def metrics(self, model: str, task: Task) -> list[Metric]:
        """The metrics of a task, primary first: the declared ones, and others found in rows."""
        scores = self.scores.get((model, task.name))
        directions = scores.directions if scores is not None else {}
        undeclared = {
            name: Metric(name, "continuous", better)
            for name, better in directions.items()
            if name not in task.metrics
        }
        known = task.metrics | undeclared
        return sorted(known.values(), key=lambda metric: metric.name != task.primary)

    def planned_seeds(self, model: str, task: str, arm: Arm) -> set[Seed]:
        """The fit seeds that the plan has for an arm."""
        return {cell.fit_seed for cell in self._cells(model, arm) if cell.task == task}

    def planned_strengths(self, model: str, arm: Arm) -> set[float]:
        """The strengths that the plan has for an arm."""
        return {cell.strength for cell in self._cells(model, arm)}

    def planned_arms(self, model: str, task: str) -> list[Arm]:
        """The arms that the plan has: the baseline first, then in the order of the grid."""
        arms = dict.fromkeys(
            Arm(cell.method, cell.layer)
            for cell in self.plan.cells
            if cell.model == model and cell.task == task
        )
        return sorted(arms, key=lambda arm: arm.method != self.plan.baseline)

    def baseline(self, model: str, task: str) -> Setting:
        """The baseline as a setting; without strengths if no cell of it finished."""
        scores = self.scores.get((model, task))
        cells = [] if scores is None else list(scores.cells)
        baseline_cells = [cell for cell in cells if cell.arm.method == self.plan.baseline]
        arm = baseline_cells[0].arm if baseline_cells else Arm(self.plan.baseline, "")
        return Setting(arm, {cell.fit_seed: cell.strength for cell in baseline_cells})

    def cost(self, model: str, task: str, setting: Setting) -> Cost:
        """The mean cost of the finished cells of `setting`."""
        speed = self._mean(model, task, setting, "tokens_per_second")
        return Cost(speed, self._mean(model, task, setting, "seconds"))

    def displacement(self, model: str, task: str, setting: Setting) -> float | None:
        """Mean |y - x| of the steered tokens of `setting`, over its sites and finished cells."""
        return self._mean(model, task, setting, "displacement")

    def _cells(self, model: str, arm: Arm) -> list[CellKey]:
        wanted = (model, arm.method, arm.layer)
        return [cell for cell in self.plan.cells if (cell.model, cell.method, cell.layer) == wanted]

    def _mean(self, model: str, task: str, setting: Setting, key: str) -> float | None:
        scores = self.scores.get((model, task))
        cells = [] if scores is None else [c for c in scores.cells if c.arm == setting.arm]
        values = [
            float(value)
            for cell in cells
            if setting.strengths.get(cell.fit_seed) == cell.strength
            and isinstance(value := self.measured.get(cell.cell_id, {}).get(key), int | float)
        ]
        return float(np.mean(values)) if values else None
