"""The plan: every cell of a grid, with an id that is the same before and after it ran."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from steereval.common.errors import GridError, InputError
from steereval.common.paths import check_path
from steereval.harness.config.grid import (
    ContrastSpec,
    Grid,
    JudgeSpec,
    MethodSpec,
    ModelSpec,
    TaskSpec,
    contrasts_of,
)
from steereval.harness.planning.cell import Cell
from steereval.models.methods.registry import get_method
from steereval.models.steering.positions import Positions
from steereval.tasks.catalogue.index import is_built_in
from steereval.tasks.judges.registry import get_judge, scorer_of

MOST_CELLS = 100_000
"""Cells of a grid, at most."""


def make_plan(grid: Grid) -> list[Cell]:
    """All cells of `grid`, each once; methods, options and positions are checked by name.

    Raises an InputError of the kind at fault.
    """
    Positions(grid.positions)
    for method in grid.methods:
        _check_method(grid, method)
    for task in grid.tasks:
        for judge in task.judges:
            _check_judge(judge)
    _check_size(grid)
    cells = list(_cells(grid))
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.id in seen:
            raise GridError(
                f"two cells of the grid are the same: {seen[cell.id]} and {cell}",
                "Two methods differ in their label alone; remove one.",
            )
        seen[cell.id] = cell
    return [*cells, *_repeats(grid, cells)]


def _check_size(grid: Grid) -> None:
    """Refuse a grid with more cells than can be planned, before they are made."""
    columns = sum(
        max(len(method.strengths), 1)
        * sum(len(method.layers or model.layers) for model in grid.models)
        for method in grid.methods
    )
    seeds = len(grid.seeds.fit) * len(grid.seeds.sample) * len(grid.seeds.fewshot)
    count = columns * len(grid.tasks) * seeds
    if count > MOST_CELLS:
        raise GridError(
            f"the grid has up to {count} cells, and at most {MOST_CELLS} can be planned",
            "Split it into several grids, or give fewer seeds, layers or strengths.",
        )


def _check_method(grid: Grid, method: MethodSpec) -> None:
    Positions(method.positions or grid.positions)
    chosen = get_method(method.name)
    options = chosen.options(method.options)
    if method.incremental:
        chosen.check_incremental(options)
    if method.unit == "relative" and not chosen.has_relative_strengths(options):
        reason = (
            "its displacement is not proportional to the strength"
            if chosen.fits
            else "it is fitted to no activations, whose median norm would be the unit"
        )
        raise GridError(
            f"method {method.label or method.name} has no relative strengths: {reason}",
            "Remove `unit: relative` and give absolute strengths.",
        )


def plan_notes(grid: Grid, cells: Sequence[Cell]) -> list[str]:
    """Sentences about a plan that may surprise: seeds that change nothing, replaced tasks."""
    replaced = [t.name for t in grid.tasks if t.include_hash and is_built_in(t.name)]
    notes = _seedless_sentences(grid, cells)
    if replaced:
        notes.append(
            f"{', '.join(replaced)} of include_path replaces the built-in task of that name."
        )
    return notes


def _seedless_sentences(grid: Grid, cells: Sequence[Cell]) -> list[str]:
    """One sentence for each reason why methods have one cell in place of several fit seeds."""
    seeds = len(grid.seeds.fit)
    steered = [cell for cell in cells if cell.method.name != "none" and cell.fit_seed is None]
    if seeds < 2 or not steered:
        return []
    fitted = dict.fromkeys(cell.label for cell in steered if cell.contrast is not None)
    unfitted = dict.fromkeys(cell.label for cell in steered if cell.contrast is None)
    sentences = []
    if fitted:
        sentences.append(
            f"One cell in place of {seeds} fit seeds for {', '.join(fitted)}: the fit draws no "
            "random numbers. Add `fraction: 0.8` to the contrast to draw fit data by seed."
        )
    if unfitted:
        sentences.append(
            f"One cell in place of {seeds} fit seeds for {', '.join(unfitted)}: nothing is fitted."
        )
    return sentences


def _check_judge(judge: JudgeSpec) -> None:
    scorer = scorer_of(get_judge(judge.name), judge.scorer)
    if judge.model is not None and not scorer.model:
        raise GridError(
            f"judge {judge.name} has a model, which its scorer {judge.scorer} does not use",
            "Remove `model`, or choose another scorer.",
        )


def _repeats(grid: Grid, cells: Sequence[Cell]) -> Iterator[Cell]:
    """For every model and task its first unsteered cell again, and the named method's first."""
    if grid.noise_floor is None:
        return
    repeated: set[tuple[str, str, bool]] = set()
    for cell in cells:
        plain = cell.method.name == "none"
        key = (cell.model.name, cell.task.name, plain)
        if (plain or cell.label == grid.noise_floor.method) and key not in repeated:
            repeated.add(key)
            yield dataclasses.replace(cell, is_repeat=True)


def _cells(grid: Grid) -> Iterator[Cell]:
    for model in grid.models:
        for task in grid.tasks:
            for sample in grid.seeds.sample if task.samples else grid.seeds.sample[:1]:
                for fewshot in grid.seeds.fewshot if task.num_fewshot else grid.seeds.fewshot[:1]:
                    for method in _methods_on(grid, task):
                        yield from _method_cells(grid, model, task, method, sample, fewshot)


def _methods_on(grid: Grid, task: TaskSpec) -> list[MethodSpec]:
    """The methods that run on `task`; `match` of the grid replaces their units."""
    chosen = [m for m in grid.methods if not m.tasks or task.name in m.tasks]
    return [
        m if m.name == "none" else dataclasses.replace(m, unit=grid.match or m.unit) for m in chosen
    ]


def _contrast_of(grid: Grid, task: TaskSpec, method: MethodSpec) -> ContrastSpec | None:
    """The contrast set that a method is fitted to; None if it is not fitted. Raises GridError."""
    if not get_method(method.name).fits:
        if method.unit == "displacement":
            raise GridError(
                f"method {method.label or method.name} is fitted to nothing, so there are no "
                "activations to match a displacement on",
                "Give absolute strengths, in a grid without `match`, or leave the method out.",
            )
        return None
    contrast = method.contrast or task.contrast or grid.contrast
    if contrast is None:
        raise GridError(
            f"task {task.name} has no contrast set to fit steerers to",
            "Add `contrast: truthful-mini` to the grid or to the task.",
        )
    return contrast


def _method_cells(
    grid: Grid,
    model: ModelSpec,
    task: TaskSpec,
    method: MethodSpec,
    sample: int,
    fewshot: int,
) -> Iterator[Cell]:
    common: dict[str, Any] = {
        "sample_seed": sample,
        "fewshot_seed": fewshot,
        "validation_share": grid.select.share if grid.select else 0.0,
    }
    bare_task = dataclasses.replace(task, contrast=None)
    if method.name == "none":
        bare_model = model.without_layers()
        bare_method = dataclasses.replace(method, tasks=())
        yield Cell(bare_model, bare_method, None, "", bare_task, "", None, **common)
        return
    chosen, contrast = get_method(method.name), _contrast_of(grid, task, method)
    options = chosen.options(method.options)
    digest = files_digest(contrast, chosen.files(options))
    random = chosen.draws(options) or (contrast is not None and contrast.fraction < 1)
    for layers in method.layers or model.layers:
        for strength in method.strengths:
            for seed in grid.seeds.fit if random else (None,):
                yield Cell(
                    dataclasses.replace(model, layers=(layers,)),
                    _one_strength(method, strength),
                    contrast,
                    digest,
                    bare_task,
                    method.positions or grid.positions,
                    seed,
                    **common,
                )


def _one_strength(method: MethodSpec, strength: float) -> MethodSpec:
    """The method of one cell: what the cell says elsewhere is not said again."""
    return dataclasses.replace(
        method, strengths=(strength,), layers=(), positions=None, contrast=None, tasks=()
    )


def files_of(grid: Grid) -> list[Path]:
    """Every file that cells of `grid` read: contrasts given by path, vectors."""
    files: dict[Path, None] = {}
    for method in grid.methods:
        if method.name != "none":
            chosen = get_method(method.name)
            files |= dict.fromkeys(chosen.files(chosen.options(method.options)))
    for contrast in contrasts_of(grid):
        files |= dict.fromkeys(_contrast_files(contrast))
    return list(files)


def _contrast_files(contrast: ContrastSpec | None) -> list[Path]:
    return [Path(contrast.name)] if contrast and contrast.name.endswith(".jsonl") else []


def files_digest(contrast: ContrastSpec | None, others: Sequence[Path]) -> str:
    """Hash of the files that a cell reads, so that another content is another cell."""
    files = [*_contrast_files(contrast), *others]
    if not files:
        return ""
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise InputError(
                f"the file {path} cannot be read: {error.strerror}", check_path(path)
            ) from error
    return digest.hexdigest()[:16]
