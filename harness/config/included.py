"""A grid's own tasks (`include_path`) and groups: from names to tasks that have a card each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from steereval.common.errors import GridError, InputError
from steereval.harness.config.checks import check
from steereval.harness.config.specs import Grid, SelectSpec, TaskSpec
from steereval.tasks.catalogue.cards import expanded_tasks
from steereval.tasks.catalogue.included import (
    IncludedFiles,
    check_names,
    included_files,
    read_included,
)
from steereval.tasks.catalogue.index import names_in


def with_included(grid: Grid, folder: Path, grid_file: Path | None = None) -> Grid:
    """A grid whose tasks of `folder` carry the hash of its content.

    Args:
        grid: The grid.
        folder: Its `include_path`.
        grid_file: The grid file, which is not part of the folder's content.

    Returns:
        The grid, with the full path of the folder.

    Raises:
        InputError: The folder cannot be read, holds no task, or holds other files than those
            that the grid names by their hash.
        TaskError: Two of its files define the same name.
        StoreError: The cache folder cannot be written to.
    """
    files = read_included(folder, grid_file)
    check_names(files)
    files.publish()
    names = names_in(files.content_hash)
    if not names:
        raise InputError(
            f"the folder {folder} of include_path holds no task of lm-eval",
            "Give the folder with the task's .yaml file, which has the key `task` or `group`.",
        )
    tasks = tuple(_marked(task, files.content_hash, task.name in names) for task in grid.tasks)
    return dataclasses.replace(grid, tasks=tasks, include_path=str(folder.resolve()))


def _marked(task: TaskSpec, content_hash: str, is_included: bool) -> TaskSpec:
    if task.include_hash and (task.include_hash != content_hash or not is_included):
        raise GridError(
            f"task {task.name} has the include_hash {task.include_hash}, and the files of "
            f"include_path have {content_hash}",
            "Give the folder with the earlier files, or remove `include_hash`.",
        )
    return dataclasses.replace(task, include_hash=content_hash) if is_included else task


def included_of(grid: Grid) -> tuple[IncludedFiles, ...]:
    """The files of the user's own tasks in a grid. Raises TaskError where they are not here."""
    hashes = dict.fromkeys(task.include_hash for task in grid.tasks if task.include_hash)
    return tuple(included_files(each) for each in hashes)


def with_members(grid: Grid) -> Grid:
    """A grid with the members of tags, and of groups that have no score, in place of these.

    Raises:
        UnknownNameError: A task is unknown.
        GridError: A task comes twice then, or strengths are chosen on a group of several tasks.
    """
    members = {task.name: expanded_tasks(task.name, task.include_hash) for task in grid.tasks}
    if all(names == (name,) for name, names in members.items()):
        return grid
    for name, names in members.items():
        if not names:
            raise GridError(
                f"task {name!r} is a group without tasks", "Add tasks to it, or remove it."
            )
    tasks = tuple(
        dataclasses.replace(task, name=name) for task in grid.tasks for name in members[task.name]
    )
    methods = tuple(
        dataclasses.replace(method, tasks=_replaced(method.tasks, members))
        for method in grid.methods
    )
    select = _select(grid.select, members)
    expanded = dataclasses.replace(grid, tasks=tasks, methods=methods, select=select)
    for fault in check(expanded):
        raise GridError(fault.problem, fault.remedy)
    return expanded


def _replaced(names: tuple[str, ...], members: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for name in names for each in members[name]))


def _select(select: SelectSpec | None, members: Mapping[str, tuple[str, ...]]) -> SelectSpec | None:
    if select is None or select.task is None:
        return select
    names = members[select.task]
    if len(names) > 1:
        raise GridError(
            f"select.task is {select.task!r}, which stands for {len(names)} tasks",
            f"Choose one of them, such as {names[0]}.",
        )
    return dataclasses.replace(select, task=names[0])
