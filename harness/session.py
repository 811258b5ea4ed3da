"""A whole run: plan, manifest, workers, and what a second start finds already done."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steereval.errors import InputError
from steereval.models.methods.registry import get_method, package_of
from steereval.plan import Cell, make_plan
from steereval.preflight import Prepared, prepare
from steereval.progress import display
from steereval.ray_jobs.work import Executor, Outcome, Work
from steereval.results.schema import SCHEMA_VERSION
from steereval.results.store import RunFolder
from steereval.run import PERPLEXITY, CellWorker, WorkerSettings
from steereval.spec import Grid, plain

PACKAGES = ("steereval", "lm_eval", "torch", "transformers", "ray", "datasets", "pyarrow")


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    planned: int
    """Cells of the grid."""
    reused: int
    """Cells that were finished before."""
    failed: tuple[str, ...]
    """Cells that failed, by name."""


def run_grid(grid: Grid, out: Path, data_dir: Path | None, say: Callable[[str], None]) -> Summary:
    """Run every cell of `grid` that `out` does not hold yet. Raises InputError or StoreError.

    A failed cell is recorded and the rest goes on; a later start tries it again.
    """
    cells = make_plan(grid)
    store = RunFolder(out)
    store.create()
    store.clean()
    prepared = prepare(grid, data_dir, say)
    _check_same_run(store, cells)
    store.write_manifest(manifest(grid, cells, prepared))
    finished = store.finished()
    waiting = [cell for cell in cells if cell.id not in finished]
    reused = len(cells) - len(waiting)
    if reused:
        say(f"{reused} of {len(cells)} cells were finished before")
    settings = WorkerSettings(
        str(out.resolve()), str(data_dir) if data_dir else None, grid.run.batch_size,
        grid.run.device, _one_of_each_fit(waiting),
    )  # fmt: skip
    failed = _run_cells(grid, waiting, settings, len(cells), prepared)
    return Summary(len(cells), reused, failed)


def _one_of_each_fit(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """A cell for each model, contrast, method and layers: what decides which states are read."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.contrast is not None:
            key = repr((cell.model, cell.contrast, cell.method.name, cell.method.options))
            found.setdefault(key, cell)
    return tuple(found.values())


def _run_cells(
    grid: Grid, cells: Sequence[Cell], settings: WorkerSettings, total: int, prepared: Prepared
) -> tuple[str, ...]:
    if not cells:
        return ()
    failed: list[str] = []
    works = [Work(cell.id, prepared.sizes[cell.task.name], _affinity(cell), cell) for cell in cells]
    with display(total, total - len(cells)) as shown:

        def listen(outcome: Outcome) -> None:
            cell: Cell = outcome.work.payload
            error = None if outcome.error is None else str(outcome.error)
            if error is not None:
                failed.append(f"{cell}: {error}")
                _record_death(settings, cell, error)
            shown.finished(str(cell), outcome.seconds, error)

        _executor(grid).run(works, partial(CellWorker, settings), listen)
    return tuple(failed)


def _record_death(settings: WorkerSettings, cell: Cell, error: str) -> None:
    """Record a failure that the worker could not record itself, because it died."""
    store = RunFolder(Path(settings.run_folder))
    if cell.id not in store.records():
        failure = {"name": str(cell), "identity": cell.identity}
        store.write_failure(cell.id, failure | {"error": {"type": "death", "message": error}})


def _affinity(cell: Cell) -> str:
    """Cells with the same model stay with a worker that has loaded it."""
    model = cell.model
    return f"{model.name}|{model.revision}|{model.peft}|{model.dtype}"


def _executor(grid: Grid) -> Executor:
    if grid.run.workers == 1:
        from steereval.ray_jobs.serial import SerialExecutor

        return SerialExecutor()
    # Imported here: Ray takes a second to import, and one worker does not need it.
    from steereval.ray_jobs.local_ray import RayExecutor

    return RayExecutor(grid.run.workers, gpus_each=_gpus_each(grid.run.workers))


def _gpus_each(workers: int) -> float:
    import torch

    return min(1.0, torch.cuda.device_count() / workers)


def _check_same_run(store: RunFolder, cells: Sequence[Cell]) -> None:
    """Refuse to mix two grids in one folder; a larger or smaller version of one is the same."""
    if not (store.path / "manifest.json").exists():
        return
    before = {cell["cell_id"] for cell in store.read_manifest()["cells"]}
    if before and not before & {cell.id for cell in cells}:
        raise InputError(
            f"{store.path} holds another run: none of its cells is in this grid",
            "Choose another --out, or delete the folder.",
        )


def manifest(grid: Grid, cells: Sequence[Cell], prepared: Prepared) -> dict[str, Any]:
    """What a reader of the rows must know of the run."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": grid.name,
        "grid": plain(grid),
        "cells": [cell.summary() for cell in cells],
        "tasks": {task.name: _task_entry(grid, task.name, prepared) for task in grid.tasks},
        "methods": {
            method.label or method.name: {
                "name": method.name,
                "options": method.options,
                "unit": method.unit,
                "positions": method.positions or grid.positions,
                "incremental": method.incremental,
                "reduced": get_method(method.name).reduced(method.options),
            }
            for method in grid.methods
        },
        "select": None if grid.select is None else plain(grid.select),
        "analysis": plain(grid.analysis),
        "contrasts": prepared.contrasts,
        "versions": {package: version(package) for package in PACKAGES} | _own_packages(grid),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
    }


def _own_packages(grid: Grid) -> dict[str, str]:
    """Versions of the packages that methods of the grid come from, other than ours."""
    found = {package_of(method.name) for method in grid.methods} - {""}
    return dict(sorted(package.split("==") for package in found))


def _task_entry(grid: Grid, name: str, prepared: Prepared) -> dict[str, Any]:
    task = next(task for task in grid.tasks if task.name == name)
    described = prepared.tasks[name]
    metrics = {
        metric: {"kind": known.kind, "higher_is_better": known.higher_is_better}
        for metric, known in described.metrics.items()
    }
    if name in prepared.generates:
        metrics[PERPLEXITY] = {"kind": "ratio", "higher_is_better": False}
    return {
        "role": task.role,
        "margin": task.margin,
        "primary_metric": task.metric or described.primary_metric,
        "cluster": described.cluster,
        "metrics": metrics,
    }
