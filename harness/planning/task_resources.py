"""Tasks and contrast sets of a run's cells, each loaded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from steereval.common.errors import TaskError
from steereval.harness.config.grid import ContrastSpec, TaskSpec
from steereval.harness.planning.cell import Cell
from steereval.tasks.catalogue.cards import load_tasks
from steereval.tasks.catalogue.task_group import TaskGroup, generates, subtask_of, subtasks_of
from steereval.tasks.contrast.registry import ContrastSet, load_contrast


def configured(spec: TaskSpec, data_dir: Path | None) -> Any:
    """lm-eval's task with the few-shot examples and options of generation of `spec`."""
    task = load_tasks([spec.name], data_dir, spec.include_hash)[spec.name]
    for key, given in (("generation", spec.generation), ("judges", spec.judges)):
        if given and not generates(task):
            raise TaskError(
                f"task {spec.name} generates nothing, but has {key}",
                f"Remove `{key}` from the task.",
            )
    if spec.judges and isinstance(task, TaskGroup):
        raise TaskError(
            f"task {spec.name} is a group, whose answers cannot be judged",
            f"Name its tasks one by one, such as {next(iter(task.members))}.",
        )
    for each in subtasks_of(task).values():
        _configure(each, spec)
    return task


def _configure(task: Any, spec: TaskSpec) -> None:
    """Give a task, or a subtask of a group, the options of `spec`."""
    if spec.num_fewshot is not None:
        task.set_config(key="num_fewshot", value=spec.num_fewshot)
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    if spec.generation and generates(task):
        defaults = task.get_config("generation_kwargs") or {}
        task.set_config(key="generation_kwargs", value={**defaults, **spec.generation})


def own_text(task: Any) -> Callable[[Instance], str]:
    """Separates a prompt's own text from the few-shot text in front of it.

    Args:
        task: lm-eval's task.

    Returns:
        A function from a request of the task to the last part of its prompt that is not few-shot
        text. Without few-shot examples a chat template puts nothing else in front of the prompt,
        so that a prompt it has changed is the request's own in full.
    """

    def text(request: Instance) -> str:
        asking = subtask_of(task, request.task_name)
        last_part = str(asking.doc_to_text(request.doc))
        context = str(request.args[0])
        shots = bool(asking.get_config("num_fewshot"))
        return last_part if last_part and (shots or context.endswith(last_part)) else context

    return text


@dataclass
class TaskResources:
    """Loads and keeps tasks and contrast sets.

    Tasks are loaded again for other options: lm-eval keeps these in the task itself.
    """

    data_dir: Path | None
    """Folder with benchmark data."""
    _tasks: dict[str, Any] = field(default_factory=dict)
    _contrasts: dict[ContrastSpec, ContrastSet] = field(default_factory=dict)

    def task(self, cell: Cell) -> Any:
        """lm-eval's task of `cell`, with what the grid says of it. Raises a TaskError."""
        key = repr(cell.task)
        if key not in self._tasks:
            self._tasks[key] = configured(cell.task, self.data_dir)
        return self._tasks[key]

    def contrast(self, spec: ContrastSpec) -> ContrastSet:
        """The contrast set that `spec` names."""
        if spec not in self._contrasts:
            self._contrasts[spec] = load_contrast(
                spec.name, data_dir=self.data_dir, answers=spec.answers
            )
        return self._contrasts[spec]
