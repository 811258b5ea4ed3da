"""From a grid file to a `Grid`: YAML, the models of its parts, rules that concern several."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from steereval.common.errors import GridError
from steereval.common.text import first_line
from steereval.common.validation import Fault, faults_of
from steereval.harness.config.checks import check
from steereval.harness.config.specs import Grid
from steereval.harness.config.yaml_core import line_of, read_yaml

Spec = TypeVar("Spec")


def load_grid(path: Path, include_path: Path | None = None) -> Grid:
    """Read and check a grid file, and read the folder of its own tasks.

    Args:
        path: The file.
        include_path: A folder of tasks in place of the grid's `include_path`.

    Returns:
        The grid.

    Raises:
        GridError: If the file cannot be read or is not a valid grid. The message names the value,
            its line and the remedy.
        InputError: If the folder of tasks cannot be read.
    """
    grid = _read(path)
    if include_path is None and grid.include_path is not None:
        include_path = path.parent / grid.include_path
    if include_path is None:
        return grid
    # Imported here: only grids with tasks of their own need lm-eval's index of tasks.
    from steereval.harness.config.included import with_included

    return with_included(grid, include_path, path)


def _read(path: Path) -> Grid:
    """The grid of a file, as it stands there."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise GridError(
            f"the grid file {path} cannot be read: {error.strerror}", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise GridError(f"the grid file {path} is not UTF-8 text", "Write it as YAML.") from error
    try:
        data, root = read_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise GridError(
            f"{path} is not valid YAML{line}: {problem}", "Correct the line."
        ) from error
    grid, faults = read_grid(data)
    if grid is None:
        first = faults[0]
        line = f" ({path.name}, line {line_of(root, first.place)})" if root else ""
        raise GridError(f"{first.problem}{line}", first.remedy)
    return grid


def parse_grid(data: Any) -> Grid:
    """A grid from plain values.

    Args:
        data: What a grid file holds, or `plain` of a grid.

    Returns:
        The grid.

    Raises:
        GridError: If it is not a valid grid.
    """
    grid, faults = read_grid(data)
    if grid is None:
        raise GridError(faults[0].problem, faults[0].remedy)
    return grid


def read_grid(data: Any) -> tuple[Grid | None, list[Fault]]:
    """A grid from plain values; None and the faults where it is not valid."""
    try:
        grid = _adapter().validate_python(data)
    except ValidationError as error:
        return None, faults_of(error, Grid, "grid")
    faults = list(check(grid))
    return (None if faults else grid), faults


@cache
def _adapter() -> TypeAdapter[Grid]:
    return TypeAdapter(Grid)


def changed(spec: Spec, **changes: Any) -> Spec:
    """A part of a grid with other values, validated as in a file.

    Args:
        spec: A grid or one of its parts.
        changes: Values by field.

    Returns:
        The changed part.

    Raises:
        GridError: If a value is not valid.
    """
    try:
        return dataclasses.replace(spec, **changes)  # type: ignore[type-var]
    except ValidationError as error:
        first = faults_of(error, type(spec), type(spec).__name__.removesuffix("Spec").lower())[0]
        raise GridError(first.problem, first.remedy) from None
