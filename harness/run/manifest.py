"""The manifest of a run, written before its first cell."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from steereval.common.errors import InputError
from steereval.harness.config.grid import Grid, MethodSpec, plain
from steereval.harness.engine.environment import versions
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import refuse_other_version
from steereval.harness.planning.preflight import Prepared
from steereval.harness.run.item_rows import PERPLEXITY
from steereval.models.methods.registry import get_method, package_of
from steereval.results.store.retired import retired
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import SCHEMA_VERSION


def manifest_before(store: RunFolder, cells: Sequence[Cell]) -> dict[str, Any]:
    """The manifest of the run that goes on here; empty if one begins.

    Refuses to mix two grids in one folder; a larger or smaller version of one is the same.
    """
    if not store.exists():
        return {}
    manifest = store.read_manifest()
    refuse_other_version(store.place, store.records())
    before = {cell["cell_id"] for cell in manifest["cells"]} | retired(store).stored()
    if before and not before & {cell.id for cell in cells}:
        raise InputError(
            f"{store.place} holds another run: none of its cells is in this grid",
            "Choose another --out, or delete the folder.",
        )
    return manifest


def manifest(grid: Grid, cells: Sequence[Cell], prepared: Prepared) -> dict[str, Any]:
    """What a reader of the rows must know of the run."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": grid.name,
        "grid": plain(grid),
        "cells": [cell.planned() for cell in cells],
        "tasks": {task.name: _task_entry(grid, task.name, prepared) for task in grid.tasks},
        "methods": {
            method.label or method.name: {
                "name": method.name,
                "options": method.options,
                "unit": grid.match or method.unit,
                "positions": method.positions or grid.positions,
                "incremental": method.incremental,
                "reduced": get_method(method.name).reduced(method.options),
                "traits": _traits(method),
            }
            for method in grid.methods
        },
        "select": None if grid.select is None else plain(grid.select),
        "analysis": plain(grid.analysis),
        "contrasts": prepared.contrasts,
        "content": prepared.content,
        "versions": versions(package_of(method.name) for method in grid.methods),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
    }


def _traits(method: MethodSpec) -> list[str]:
    """What decides the questions that a report asks about a method."""
    known = get_method(method.name)
    return sorted(known.traits(known.options(method.options)))


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
        "benchmark": described.benchmark,
        "documents": len(prepared.loaded[name].eval_docs),
        "metrics": metrics,
        "judges": {
            judge.name: {
                "scorer": judge.scorer,
                "model": judge.model,
                "stand_in": judge.is_stand_in,
            }
            for judge in task.judges
        },
    }
