"""Units of `steereval diagnose`: a model, a contrast set and layers, with names.

A unit's name is a hash of everything that decides its measurements, so that stored ones are not
repeated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steereval.common.errors import ContrastError, InputError
from steereval.harness.config.grid import ContrastSpec, DiagnoseSpec, Grid
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.task_resources import TaskResources
from steereval.models.methods.registry import get_method
from steereval.results.store.identity import id_of
from steereval.tasks.contrast.registry import ContrastSet

VERSION = 1
"""Counts changes to what is measured; part of every name."""
SHARES = (0.4, 0.4, 0.2)
"""Of the contrast's keys: to fit steerers, to fit the barrier that judges them, to measure on."""
LEAST_KEYS = 8
"""Fewest keys of a part."""


@dataclass(frozen=True)
class Unit:
    """Steerers of one model and contrast set at the same layers, measured together."""

    cells: tuple[Cell, ...]
    """A cell for each method, strength and fit seed; what its task is does not matter."""
    contrast: ContrastSpec
    """Contrast set that the steerers are fitted to."""
    contrast_hash: str
    """Hash of its statements."""
    items: int
    """Most statements that are measured on."""
    left_out: tuple[tuple[str, str], ...]
    """Label of each method that is not measured, and why."""
    timed: frozenset[str]
    """Labels of the methods whose cost is measured here: it does not depend on the contrast set, so
    one unit of a model and its layers measures it."""

    @property
    def layer(self) -> str:
        """The layers, as in the rows."""
        return self.cells[0].layer

    @property
    def name(self) -> str:
        """Hash of everything that decides what is measured: 16 hexadecimal digits."""
        return id_of(
            {
                "version": VERSION,
                "contrast": self.contrast_hash,
                "items": self.items,
                "timed": sorted(self.timed),
                "cells": [{"label": cell.label, **_deciding(cell)} for cell in self.cells],
            }
        )

    def __str__(self) -> str:
        """A short name for progress and errors."""
        return f"{self.cells[0].model.name}, layer {self.layer}, {self.contrast.name}"


def _deciding(cell: Cell) -> dict[str, Any]:
    """The part of a cell's identity that a diagnosis depends on."""
    excluded = {"version", "task", "sample_seed", "fewshot_seed", "validation_share", "repeat"}
    return {name: value for name, value in cell.identity.items() if name not in excluded}


def units_of(grid: Grid, resources: TaskResources) -> list[Unit]:
    """The units of `grid`, in its order.

    Raises ContrastError for a contrast set that is too small to be parted, and InputError where
    no method of the grid can be diagnosed.
    """
    given = grid.diagnose or DiagnoseSpec()
    groups: dict[str, list[Cell]] = {}
    for cell in make_plan(grid):
        if cell.contrast is not None and not cell.is_repeat:
            model = cell.model.without_layers()
            groups.setdefault(repr((model, cell.layer, cell.contrast)), []).append(cell)
    units = [unit for cells in groups.values() for unit in _units(cells, given, resources)]
    units = list(_each_timed_once(units))
    if not units:
        raise InputError(
            "no method of the grid can be diagnosed",
            "Diagnosed are methods that are fitted to a contrast set and act on blocks' outputs.",
        )
    return units


def _each_timed_once(units: Sequence[Unit]) -> Iterator[Unit]:
    """The units, of which the first with a method measures its cost."""
    known = set[tuple[str, str, str]]()
    for unit in units:
        place = repr(unit.cells[0].model.without_layers()), unit.layer
        labels = {cell.label for cell in unit.cells if (*place, cell.label) not in known}
        known |= {(*place, label) for label in labels}
        yield dataclasses.replace(unit, timed=frozenset(labels))


def _units(cells: Sequence[Cell], given: DiagnoseSpec, resources: TaskResources) -> list[Unit]:
    """The unit of cells of one place; none if nothing of them can be measured."""
    fits: dict[str, Cell] = {}
    for cell in cells:
        fits.setdefault(id_of({"label": cell.label, **_deciding(cell)}), cell)
    left_out = {cell.label: reason for cell in cells if (reason := _why_not(cell))}
    cells_of_fits = tuple(
        cell for cell in fits.values() if cell.label not in left_out and cell.strength
    )
    if not cells_of_fits:
        return []
    spec = cells_of_fits[0].contrast
    assert spec is not None
    contrast = resources.contrast(spec)
    parts_of(contrast)
    left = tuple(left_out.items())
    return [Unit(cells_of_fits, spec, contrast.content_hash, given.items, left, frozenset())]


def _why_not(cell: Cell) -> str:
    """Why a cell's method is not measured; empty if it is."""
    heads = get_method(cell.method.name).reads == "heads"
    return "it acts on attention heads, not on the outputs of blocks" if heads else ""


def parts_of(contrast: ContrastSet) -> tuple[ContrastSet, ContrastSet, ContrastSet]:
    """The parts of `contrast` for steerers, judges and measurements. Raises ContrastError."""
    least = LEAST_KEYS / min(SHARES)
    if len(contrast.keys) < least:
        raise ContrastError(
            f"contrast set {contrast.name} has {len(contrast.keys)} keys, too few to be parted for "
            "a diagnosis",
            f"It needs {least:.0f}: steerers, the barrier that judges them and the measurements "
            "each get keys of their own.",
        )
    fit, judge, test = contrast.parted(SHARES)
    return fit, judge, test
