"""Finding a task by name: ours, and lm-eval's thirteen thousand without reading all their files.

lm-eval's own index of everything takes several seconds to build. Most task files bear their
task's name, so the folder around such a file is indexed first, and everything only if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from steereval.common.errors import TaskError, UnknownNameError
from steereval.tasks.catalogue.included import included_folder

_DATA = frozenset({"dataset_path", "custom_dataset", "class"})
"""Keys of which a whole definition of a task has one."""


def task_folder() -> Path:
    """The folder with this project's task files, for `lm_eval --include_path`."""
    return Path(__file__).parents[1] / "benchmarks"


@cache
def manager_for(name: str, include_hash: str = "") -> Any:
    """An `lm_eval.tasks.TaskManager` whose index holds the task, group or tag `name`.

    Args:
        name: lm-eval's name.
        include_hash: Hash of the `include_path` that it comes from; empty for lm-eval's and ours.

    Raises:
        UnknownNameError: There is no such name; the nearest one is named.
        TaskError: This machine does not hold the `include_path`.
    """
    if include_hash:
        return _manager_of_included(included_folder(include_hash), name)
    for folder in (task_folder(), *_folders_with_file(name)):
        manager = _manager_of_folder(folder)
        if name in manager.all_subtasks:
            return manager
    manager = _manager_of_everything()
    if name not in manager.task_index:
        raise _unknown(name, manager.all_tasks)
    return manager


def names_in(include_hash: str) -> frozenset[str]:
    """The names of the tasks, groups and tags of an `include_path`."""
    return frozenset(_manager_of_folder(included_folder(include_hash)).all_tasks)


def is_built_in(name: str) -> bool:
    """Whether this project or lm-eval has a task of that name, in a file of that name."""
    folders = (task_folder(), *_folders_with_file(name))
    return any(name in _manager_of_folder(folder).all_subtasks for folder in folders)


def task_config(name: str, include_hash: str = "") -> Mapping[str, Any]:
    """The configuration in the task's or group's file, functions as paths; loads no data.

    Raises what `manager_for` raises.
    """
    config: Mapping[str, Any] = manager_for(name, include_hash).task_index[name].cfg or {}
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
def _manager_of_everything(folder: Path | None = None) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder)


def _manager_of_included(folder: Path, name: str) -> Any:
    """The manager of a user's folder; where a group in it names tasks of lm-eval, with these."""
    included = _manager_of_folder(folder)
    if name in included.task_index and _is_closed(included.task_index, name):
        return included
    manager = _manager_of_everything(folder)
    if name not in manager.task_index:
        raise _unknown(name, [*included.all_tasks, *manager.all_tasks])
    return manager


def leaf_configs(name: str, include_hash: str = "") -> dict[str, Mapping[str, Any]] | None:
    """{name: configuration} of the tasks of a group or tag, those of groups within it too.

    None for a task. Raises what `manager_for` raises.
    """
    index = manager_for(name, include_hash).task_index
    members = _members_of(index[name])
    return None if members is None else dict(_leaves(index, name, members))


def expanded_names(
    name: str,
    include_hash: str,
    has_score: Callable[[Mapping[str, Any]], object],
    above: tuple[str, ...] = (),
) -> Iterator[str]:
    """The name of a task, or of a group that `has_score`, and those that another one stands for.

    `above` names the groups around it. Raises what `manager_for` raises, and TaskError for a group
    that holds itself.
    """
    _check_ends(name, above)
    entry = manager_for(name, include_hash).task_index[name]
    members = _members_of(entry)
    if members is None or has_score(entry.cfg or {}):
        yield name
        return
    for member in members:
        if not isinstance(member, str):
            raise TaskError(
                f"{name!r} is a group without a score of its own that changes its tasks",
                "Add an aggregate_metric_list to it, or give the changed tasks files of their own.",
            )
        yield from expanded_names(member, include_hash, has_score, (*above, name))


def _check_ends(name: str, above: Sequence[str]) -> None:
    if name in above:
        raise TaskError(
            f"the group {name!r} holds itself: {' -> '.join((*above, name))}",
            "Remove one of them from the `task` list of the other.",
        )


def _is_closed(index: Mapping[str, Any], name: str) -> bool:
    """Whether an index holds all that a name stands for."""
    members = _members_of(index[name])
    return members is None or None not in (config for _, config in _walk(index, name, members))


def _members_of(entry: Any) -> Sequence[Any] | None:
    """Members of a tag or a group of lm-eval's index: names, or mappings; None for a task."""
    if entry.cfg is None:
        return sorted(entry.tags)
    members = entry.cfg.get("task")
    return members if isinstance(members, list) else None


def _leaves(
    index: Mapping[str, Any], group: str, members: Sequence[Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, config in _walk(index, group, members):
        if config is None:
            raise UnknownNameError.of("task", name, list(index))
        yield name, config


def _walk(
    index: Mapping[str, Any], group: str, members: Sequence[Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """(name, configuration) of the tasks of a group; None for a name that the index lacks.

    Tasks and groups that are defined within another group have its name before their own.
    """
    _check_ends(group, above)
    for member in members:
        changes = {} if isinstance(member, str) else member
        name = str(member if isinstance(member, str) else member.get("group", member.get("task")))
        if name in index:
            inner = _members_of(index[name])
            if inner is None:
                yield name, {**index[name].cfg, **changes}
            else:
                yield from _walk(index, name, inner, (*above, group))
        elif isinstance(changes.get("task"), list):
            yield from _walk(index, f"{group}::{name}", changes["task"])
        elif changes.keys() & _DATA:
            yield f"{group}::{name}", changes
        else:
            yield name, None


def _unknown(name: str, known: list[str]) -> UnknownNameError:
    ours = _manager_of_folder(task_folder()).all_subtasks
    nearest = get_close_matches(name, ours, n=1, cutoff=0.8) or get_close_matches(name, known, n=1)
    return UnknownNameError.of("task", name, nearest or ours)
