"""Runs on a cluster: submitted as a Ray job, and known here by an id afterwards."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from steereval.common import files as atomic
from steereval.common.errors import InputError
from steereval.common.paths import cache_folder
from steereval.harness.config.grid import Grid
from steereval.harness.deploy.package_snapshot import package_folder


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

    Raises InputError where no Ray answers, or where the grid names files that cannot travel, and
    StoreError where the run's id cannot be kept on this machine; nothing is started then.
    """
    # Imported here: a command that submits nothing does not need Ray.
    from steereval.ray_jobs.jobs import PackageSnapshot
    from steereval.ray_jobs.jobs import submit as start

    run = Submitted(_new_id(grid.name), address, out)
    command = ["python", "-m", "steereval", "run", path.name, "--out", out]
    command += ["--address", "auto", "--progress", "lines", *options]
    with _files(grid, path) as files:
        parcel = PackageSnapshot(package_folder(), files, environment)
        # First: a job whose id cannot be kept would run and be known to nobody.
        remember(run)
        try:
            start(address, run.id, shlex.join(command), parcel, {"out": out, "grid": grid.name})
        except BaseException:
            atomic.remove(_file(run.id))
            raise
    return run


def recall(name: str, address: str | None = None) -> Submitted:
    """The run with the id `name`; with an `address`, also one that another machine submitted.

    Raises InputError where the id is unknown.
    """
    file = _file(name)
    if file.is_file():
        run = Submitted(**json.loads(file.read_bytes()))
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
    atomic.write_bytes(file, json.dumps(asdict(run)).encode())


def travelling(grid: Grid, path: Path) -> dict[str, Path]:
    """The grid file `path` and what it reads by a relative path, by the names they go by where
    they are sent. Raises InputError for a file that lies outside the folder."""
    # Imported here: methods bring torch, which takes seconds and all other commands do without.
    from steereval.harness.planning.plan import files_of

    found = {path.name: path}
    for file in files_of(grid):
        if file.is_absolute():
            continue
        if ".." in file.parts:
            raise InputError(
                f"the grid reads {file}, which lies outside the folder that travels",
                "Move it below this folder, or give a full path that the cluster has.",
            )
        found[file.as_posix()] = file
    return found


@contextmanager
def _files(grid: Grid, path: Path) -> Iterator[Path]:
    """A folder with the grid file and what it reads."""
    with tempfile.TemporaryDirectory() as name:
        for file, source in travelling(grid, path).items():
            copy = Path(name) / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        yield Path(name)
