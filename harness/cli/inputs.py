"""Inputs of several commands, read and checked."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from steereval.common.activity import printed
from steereval.common.errors import InputError

if TYPE_CHECKING:
    from steereval.harness.config.grid import Grid
    from steereval.results.store.run_folder import RunFolder


def say(line: str) -> None:
    """Print a line of progress, to the error stream: the output is for results."""
    printed()
    print(line, file=sys.stderr, flush=True)


def read_grid(path: str, limit: int | None = None, include_path: str | None = None) -> Grid:
    """The grid of a file.

    Args:
        path: The grid file.
        limit: Most items of each task; a lower limit in the file holds.
        include_path: Folder of tasks in place of the grid's.

    Raises:
        GridError: The file cannot be read, or is not a valid grid.
        InputError: `limit` is below 1, or the folder cannot be read.
    """
    from steereval.harness.config.grid import load_grid

    grid = load_grid(Path(path), Path(include_path) if include_path else None)
    if limit is None:
        return grid
    if limit < 1:
        raise InputError(f"--limit is {limit}", "Use 1 or more.")
    limited = [
        dataclasses.replace(task, limit=min(task.limit or limit, limit)) for task in grid.tasks
    ]
    return dataclasses.replace(grid, tasks=tuple(limited))


def publish_included(include_path: str | None) -> str:
    """Have the tasks of `--include-path` where those of a run are looked up.

    Returns:
        The hash of their files; empty without a folder.

    Raises:
        InputError: The folder cannot be read.
    """
    if include_path is None:
        return ""
    from steereval.tasks.catalogue.included import read_included

    files = read_included(Path(include_path))
    files.publish()
    return files.content_hash


def read_data_dir(name: str | None) -> Path | None:
    """The folder with benchmark data, from `--data-dir` or else STEEREVAL_DATA.

    Raises:
        InputError: The folder does not exist.
    """
    from steereval.tasks.data.local_files import data_folder

    folder = data_folder(Path(name) if name else None)
    if folder is None:
        return None
    if not folder.is_dir():
        raise InputError(f"the data folder {folder} does not exist", "Check --data-dir.")
    return folder.resolve()


def named_value(option: str, text: str, form: str) -> tuple[str, str]:
    """Name and value of `NAME=VALUE`.

    Args:
        option: The option that takes `text`, for the error.
        text: As typed.
        form: What to type, for the error.

    Raises:
        InputError: There is no equals sign.
    """
    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"{option} {text!r} has no value", f"Write {form}.")
    return name, value


@contextmanager
def opened_run(name: str) -> Iterator[RunFolder]:
    """The run folder of that name, or the run in an archive, unpacked for as long as it is read."""
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.results.store.run_folder import RunFolder
    from steereval.results.store.unpack import unpack

    if not Path(name).is_file():
        yield RunFolder(folder_of(name))
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(name), Path(folder) / "run")
        yield RunFolder(Path(folder) / "run")
