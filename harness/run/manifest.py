"""The manifest of a run, written before its first cell."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from steereval.common.errors import InputError
from steereval.harness.config.grid import Grid, MethodSpec, plain
from steereval.harness.engine.environment import versions
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import refuse_other_version
from steereval.harness.planning.preflight import Prepared
from steereval.harness.run.item_rows import PERPLEXITY
from steereval.models.methods.registry import get_method, package_of
from steereval.results.store.manifest import (
    RATIO,
    AnalysisEntry,
    JudgeEntry,
    Manifest,
    MethodEntry,
    MetricEntry,
    SelectEntry,
    TaskEntry,
)
from steereval.results.store.retired import retired
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import SCHEMA_VERSION


def manifest_before(store: RunFolder, cells: Sequence[Cell]) -> Manifest | None:
    """The manifest of the run that is resumed here; None for a new run.

    Refuses to mix two grids in one folder; a larger or smaller version of one is the same.
    """
    if not store.exists():
        return None
    manifest = store.read_manifest()
    refuse_other_version(store.place, store.records())
    before = {cell.cell_id for cell in manifest.cells} | retired(store).stored()
    if before and not before & {cell.id for cell in cells}:
        raise InputError(
            f"{store.place} holds another run: none of its cells is in this grid",
            "Choose another --out, or delete the folder.",
        )
    return manifest


def manifest(
    grid: Grid, cells: Sequence[Cell], prepared: Prepared, largest_group: float | None = None
) -> Manifest:
    """The manifest of a run of `cells`."""
    select = None if grid.select is None else SelectEntry.model_validate(plain(grid.select))
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=grid.name,
        grid=plain(grid),
        cells=[cell.planned() for cell in cells],
        tasks={task.name: _task_entry(grid, task.name, prepared) for task in grid.tasks},
        methods={m.label or m.name: _method_entry(grid, m) for m in grid.methods},
        select=select,
        analysis=AnalysisEntry.model_validate(plain(grid.analysis)),
        contrasts=prepared.contrasts,
        content={subject: dict(parts) for subject, parts in prepared.content.items()},
        versions=versions(package_of(method.name) for method in grid.methods),
        largest_group=largest_group,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine={"platform": platform.platform(), "python": platform.python_version()},
    )


def _method_entry(grid: Grid, method: MethodSpec) -> MethodEntry:
    known = get_method(method.name)
    reduced = known.reduced(method.options)
    return MethodEntry(
        name=method.name,
        options=method.options,
        unit=grid.match or method.unit,
        positions=method.positions or grid.positions,
        incremental=method.incremental,
        reduced={option: list(pair) for option, pair in reduced.items()},
        traits=sorted(known.traits(known.options(method.options))),
    )


def _task_entry(grid: Grid, name: str, prepared: Prepared) -> TaskEntry:
    task = next(task for task in grid.tasks if task.name == name)
    described = prepared.tasks[name]
    metrics = {
        metric: MetricEntry(
            kind=known.kind,
            higher_is_better=known.higher_is_better,
            mean_of_subtasks=known.is_mean_of_subtasks,
        )
        for metric, known in described.metrics.items()
    }
    if name in prepared.generates:
        metrics[PERPLEXITY] = MetricEntry(kind=RATIO, higher_is_better=False)
    return TaskEntry(
        role=task.role,
        margin=task.margin,
        primary_metric=task.metric or described.primary_metric,
        cluster=described.cluster,
        subtasks=list(described.subtasks),
        benchmark=described.benchmark,
        documents=len(prepared.loaded[name].eval_docs),
        metrics=metrics,
        judges={
            judge.name: JudgeEntry(
                scorer=judge.scorer, model=judge.model, stand_in=judge.is_stand_in
            )
            for judge in task.judges
        },
    )
