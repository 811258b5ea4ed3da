"""Finding a task by name: ours, and lm-eval's thirteen thousand without reading all their files.

lm-eval's own index of everything takes several seconds to build. Most task files bear their
task's name, so the folder around such a file is indexed first, and everything only if need be.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from steereval.common.errors import TaskError, UnknownNameError


def task_folder() -> Path:
    """The folder with this project's task files, for `lm_eval --include_path`."""
    return Path(__file__).parents[1] / "benchmarks"


@cache
def manager_for(name: str) -> Any:
    """An `lm_eval.tasks.TaskManager` whose index holds the single task `name`.

    Raises UnknownNameError with the nearest name, and TaskError for a group or tag: its subtasks
    are named one by one, so that each has its own role, margin and rows in a report.
    """
    for folder in (task_folder(), *_folders_with_file(name)):
        manager = _manager_of_folder(folder)
        if name in manager.all_subtasks:
            return manager
    manager = _manager_of_everything()
    if name in manager.all_subtasks:
        return manager
    if name in manager.task_index:
        raise _group_error(name, manager.task_index[name])
    raise _unknown(name, manager.all_subtasks)


def task_config(name: str) -> Mapping[str, Any]:
    """The configuration in the task's file, functions as paths; loads no data.

    Raises what `manager_for` raises.
    """
    config: Mapping[str, Any] = manager_for(name).task_index[name].cfg or {}
    return config


def _folders_with_file(name: str) -> list[Path]:
    import lm_eval.tasks

    if not name.isidentifier():  # such as a path or a pattern, which no file is looked up by
        return []
    root = Path(str(lm_eval.tasks.__file__)).parent
    return sorted({path.parent for path in root.rglob(f"{name}.yaml")})


@cache
def _manager_of_folder(folder: Path) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=[folder], include_defaults=False)


@cache
def _manager_of_everything() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _group_error(name: str, entry: Any) -> TaskError:
    members = sorted(entry.tags) or [_member_name(member) for member in entry.cfg["task"]]
    shown = ", ".join(members[:5]) + (", ..." if len(members) > 5 else "")
    return TaskError(
        f"{name!r} is a group of tasks, not a task",
        f"Name the tasks that you want, one by one; it holds {shown}.",
    )


def _member_name(member: str | Mapping[str, Any]) -> str:
    return member if isinstance(member, str) else str(member.get("task") or member.get("group"))


def _unknown(name: str, known: list[str]) -> UnknownNameError:
    ours = _manager_of_folder(task_folder()).all_subtasks
    nearest = get_close_matches(name, ours, n=1, cutoff=0.8) or get_close_matches(name, known, n=1)
    return UnknownNameError.of("task", name, nearest or ours)
