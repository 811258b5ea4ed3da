"""Runs on a cluster: submitted as a Ray job, and known here by an id afterwards."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from steereval.common import files as atomic
from steereval.common.errors import InputError
from steereval.common.paths import cache_folder
from steereval.common.reading import parse_json
from steereval.common.secrets import redacted
from steereval.harness.config.grid import Grid
from steereval.harness.deploy.package_snapshot import package_folder

INCLUDED = "included-tasks"
"""The folder in which a grid's own tasks are sent."""


@dataclass(frozen=True)
class Submitted:
    """A run that was submitted from this machine."""

    id: str
    """The run id, which is also the id of the job on Ray."""
    address: str
    """Where its Ray takes jobs."""
    out: str
    """The run folder, as the cluster sees it."""


def submit(
    grid: Grid, path: Path, address: str, out: str, options: Sequence[str],
    environment: Mapping[str, str],
) -> Submitted:  # fmt: skip
    """Start a run of the grid file `path` at `address`; `options` go to `steereval run` there.

    Raises:
        InputError: No Ray answers, the run folder would be lost with the job, or the grid names
            files that cannot travel. Nothing is started.
        StoreError: The run's id cannot be kept on this machine. Nothing is started.
    """
    _check_out(out)
    # Imported here: a command that submits nothing does not need Ray.
    from steereval.ray_jobs.jobs import PackageSnapshot
    from steereval.ray_jobs.jobs import submit as start

    run = Submitted(_new_id(grid.name), address, out)
    command = ["python", "-m", "steereval", "run", path.name, "--out", out]
    command += ["--address", "auto", "--progress", "lines", *options_of(grid), *options]
    with _files(grid, path) as files:
        snapshot = PackageSnapshot(package_folder(), files, environment)
        # First: a job whose id cannot be stored would run without anyone able to stop it.
        remember(run)
        try:
            start(address, run.id, shlex.join(command), snapshot, {"out": out, "grid": grid.name})
        except BaseException:
            atomic.remove(_file(run.id))
            raise
    return run


def _check_out(out: str) -> None:
    if redacted(out) != out:
        raise InputError(
            f"--out {out} has credentials in its address, which the cluster's dashboard would show",
            "Give them with `--env NAME`, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    if "://" not in out and not out.startswith(("/", "~")):
        raise InputError(
            f"--out {out} is relative: the job's working folder on the cluster, which is deleted "
            "after the job",
            "Give an absolute path that all nodes see, or a URI such as s3://bucket/run.",
        )


def recall(name: str, address: str | None = None) -> Submitted:
    """The run with the id `name`; with an `address`, also one that another machine submitted.

    Raises InputError where the id is unknown.
    """
    file = _file(name)
    if file.is_file():
        run = Submitted(**parse_json(file.read_bytes()))
        return run if address is None else Submitted(run.id, address, run.out)
    if address is None:
        raise InputError(
            f"{name} was not submitted from this machine",
            "Give its id as `steereval submit` printed it, or the --address of its Ray.",
        )
    return Submitted(name, address, "")


def folder_of(name: str) -> str:
    """The run folder that `name` means: itself, or that of the run with this id."""
    if "://" not in name and not Path(name).exists() and _file(name).is_file():
        return recall(name).out
    return name


def _new_id(name: str) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}-{stamp}-{secrets.token_hex(2)}"


def _file(name: str) -> Path:
    return cache_folder() / "runs" / f"{name}.json"


def remember(run: Submitted) -> None:
    """Note a submitted run, so that `recall` returns it by its id."""
    file = _file(run.id)
    with atomic.naming(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(file, json.dumps(asdict(run)).encode(), is_private=True)


def travelling(grid: Grid, path: Path) -> dict[str, bytes]:
    """Files that a grid needs where it is sent.

    Args:
        grid: The grid.
        path: Its file.

    Returns:
        {name there: content} of the grid file, of what it reads by a relative path, and of its own
        tasks, below INCLUDED.

    Raises:
        InputError: A file lies outside the folder, or cannot be read.
    """
    # Imported here: methods bring torch, which takes seconds and all other commands do without.
    from steereval.harness.config.included import included_of
    from steereval.harness.planning.plan import files_of

    files = {path.name: path}
    for file in files_of(grid):
        if file.is_absolute():
            continue
        if ".." in file.parts:
            raise InputError(
                f"the grid reads {file}, which lies outside the folder that travels",
                "Move it below this folder, or give a full path that the cluster has.",
            )
        files[file.as_posix()] = file
    return {name: _content(source) for name, source in files.items()} | {
        f"{INCLUDED}/{name}": data
        for included in included_of(grid)
        for name, data in included.files.items()
    }


def options_of(grid: Grid) -> list[str]:
    """The options of `steereval run` with which a grid that was sent reads its own tasks."""
    return ["--include-path", INCLUDED] if any(task.include_hash for task in grid.tasks) else []


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"the file {file} cannot be read: {error.strerror}", "Check the path."
        ) from error


@contextmanager
def _files(grid: Grid, path: Path) -> Iterator[Path]:
    """A folder with the grid file and what it reads."""
    with tempfile.TemporaryDirectory() as name:
        for file, data in travelling(grid, path).items():
            copy = Path(name) / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)
        yield Path(name)
