"""What cells need beside a model: tasks and contrast sets, each loaded once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steereval.plan import Cell
from steereval.spec import ContrastSpec
from steereval.tasks.catalogue import load_tasks
from steereval.tasks.contrast import ContrastSet, load_contrast


@dataclass
class Supplies:
    """Loads and keeps tasks and contrast sets."""

    data_dir: Path | None
    """Folder with benchmark data."""
    _tasks: dict[str, Any] = field(default_factory=dict)
    _contrasts: dict[ContrastSpec, ContrastSet] = field(default_factory=dict)

    def task(self, cell: Cell) -> Any:
        """lm-eval's task of `cell`, with its number of few-shot examples."""
        name = cell.task.name
        if name not in self._tasks:
            self._tasks |= load_tasks([name], self.data_dir)
        task = self._tasks[name]
        if cell.task.num_fewshot is not None:
            task.set_config(key="num_fewshot", value=cell.task.num_fewshot)
        elif task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        return task

    def contrast(self, spec: ContrastSpec) -> ContrastSet:
        """The contrast set that `spec` names."""
        if spec not in self._contrasts:
            self._contrasts[spec] = load_contrast(
                spec.name, data_dir=self.data_dir, answers=spec.answers
            )
        return self._contrasts[spec]
