"""A whole run: plan, manifest, workers, and what a second start finds already done."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from steereval.errors import InputError
from steereval.models.methods.registry import get_method, package_of
from steereval.plan import Cell, group_id, groups, make_plan
from steereval.preflight import Prepared, prepare
from steereval.progress import display
from steereval.ray_jobs.work import Executor, Outcome, Work
from steereval.results.importing import kept_imports
from steereval.results.schema import SCHEMA_VERSION
from steereval.results.store import RunFolder
from steereval.rows import PERPLEXITY
from steereval.run import CellWorker, WorkerSettings
from steereval.spec import Grid, plain
from steereval.versions import versions


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
    before = _manifest_before(store, cells)
    store.write_manifest(manifest(grid, cells, prepared) | kept_imports(before))
    records = store.records()
    finished = store.finished()
    waiting = [left for group in groups(cells) if (left := _left(group, finished, records))]
    reused = len(finished & {cell.id for cell in cells})
    if reused:
        say(f"{reused} of {len(cells)} cells were finished before")
    settings = WorkerSettings(
        str(out.resolve()), str(data_dir) if data_dir else None, grid.run.batch_size,
        grid.run.device, _one_of_each_fit([cell for group in waiting for cell in group]),
        grid.run.profile,
    )  # fmt: skip
    failed = _run_groups(grid, waiting, settings, (len(cells), reused), prepared)
    return Summary(len(cells), reused, failed)


def _one_of_each_fit(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """A cell for each model, contrast, method and layers: what decides which states are read."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.contrast is not None:
            key = repr((cell.model, cell.contrast, cell.method.name, cell.method.options))
            found.setdefault(key, cell)
    return tuple(found.values())


def _left(
    group: Sequence[Cell], finished: Set[str], records: Mapping[str, dict[str, Any]]
) -> tuple[Cell, ...]:
    """The cells of a group that are answered now: those that are not finished.

    Where the run was cut off while it stored this very group, all of it is answered again, so
    that the rest comes out to the last bit as it would have.
    """
    left = tuple(cell for cell in group if cell.id not in finished)
    stored = [records[cell.id] for cell in group if cell.id in finished]
    cut_off = all(record.get("group", {}).get("id") == group_id(group) for record in stored)
    failed = any(cell.id in records for cell in left)
    return tuple(group) if left and stored and cut_off and not failed else left


def _run_groups(
    grid: Grid,
    waiting: Sequence[Sequence[Cell]],
    settings: WorkerSettings,
    counts: tuple[int, int],
    prepared: Prepared,
) -> tuple[str, ...]:
    """Run the groups; `counts` are all cells and those finished before. Names what failed."""
    if not waiting:
        return ()
    failed: list[str] = []
    works = [
        Work(group_id(group), len(group) * prepared.sizes[group[0].task.name],
             _affinity(group[0]), group)
        for group in waiting
    ]  # fmt: skip
    store = RunFolder(Path(settings.run_folder))
    before = store.finished()
    with display(*counts) as shown:

        def listen(outcome: Outcome) -> None:
            cells: Sequence[Cell] = outcome.work.payload
            errors = outcome.result or {}
            if outcome.error is not None:
                errors = _record_deaths(store, cells, str(outcome.error))
            for cell in cells:
                error = errors.get(cell.id)
                if error is not None:
                    failed.append(f"{cell}: {error}")
                if cell.id not in before:
                    shown.finished(str(cell), outcome.seconds / len(cells), error)

        _executor(grid).run(works, partial(CellWorker, settings), listen)
    return tuple(failed)


def _record_deaths(store: RunFolder, cells: Sequence[Cell], error: str) -> dict[str, str]:
    """Record failures that the worker could not record itself, because it died."""
    finished = store.finished()
    lost = [cell for cell in cells if cell.id not in finished]
    for cell in lost:
        failure = {"name": str(cell), "identity": cell.identity}
        store.write_failure(cell.id, failure | {"error": {"type": "death", "message": error}})
    return {cell.id: error for cell in lost}


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


def _manifest_before(store: RunFolder, cells: Sequence[Cell]) -> dict[str, Any]:
    """The manifest of the run that goes on here; empty if one begins.

    Refuses to mix two grids in one folder; a larger or smaller version of one is the same.
    """
    if not (store.path / "manifest.json").exists():
        return {}
    found = store.read_manifest()
    before = {cell["cell_id"] for cell in found["cells"]}
    if before and not before & {cell.id for cell in cells}:
        raise InputError(
            f"{store.path} holds another run: none of its cells is in this grid",
            "Choose another --out, or delete the folder.",
        )
    return found


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
        "versions": versions(package_of(method.name) for method in grid.methods),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
    }


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
