"""The manifest of a run as typed values: what was planned, and how it is to be analysed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steereval.common.errors import StoreError

BINARY = "binary"
BOUNDED = "bounded"
RATIO = "ratio"
TARGET = "target"


@dataclass(frozen=True)
class Metric:
    """A score that a task gives every item."""

    name: str
    """As in the item rows."""

    kind: str
    """"binary", "bounded" (0 to 1), "continuous", or "ratio" (of sums: perplexity)."""

    higher_is_better: bool
    """Whether more of it is an improvement."""

    @property
    def in_points(self) -> bool:
        """Whether scores are shown in points, 100 × value."""
        return self.kind in (BINARY, BOUNDED)


@dataclass(frozen=True)
class Task:
    """A task of the grid, and the part it plays."""

    name: str
    """As in the item rows."""

    role: str
    """"target": to be improved; "capability": to be kept."""

    margin: float | None
    """Declared beforehand, in the metric's own unit; for a ratio its relative change.

    For a capability the loss that is tolerated; for a target the least effect of interest.
    """

    primary: str
    """The metric that the confirmatory family tests."""

    cluster: str | None
    """What its clusters are, in words."""

    metrics: dict[str, Metric]
    """Its declared metrics, by name."""

    benchmark: str | None = None
    """The benchmark that it is, by which published figures are found; None for a stand-in."""

    stand_ins: tuple[str, ...] = ()
    """Its judges that have random weights and so measure nothing."""

    @property
    def is_target(self) -> bool:
        """Whether it belongs to the confirmatory family."""
        return self.role == TARGET


@dataclass(frozen=True)
class Selection:
    """How strengths are chosen: on validation items only."""

    metric: str
    """The metric that the best strength has to maximise (or minimise, if lower is better)."""

    task: str | None
    """The task it is taken from; None: each target task for itself, the first for capabilities."""


@dataclass(frozen=True)
class Plan:
    """What a manifest says, apart from what only the report prints."""

    name: str
    """The run's name."""

    cells: tuple[dict[str, Any], ...]
    """The planned cells and the imported ones, each with its id and its identity; repetitions
    aside."""

    repeats: dict[str, str]
    """{id of a cell that is computed a second time: id of the cell that it repeats}."""

    tasks: dict[str, Task]
    """The tasks in the order of the grid."""

    methods: tuple[str, ...]
    """The labels of the methods in the order of the grid."""

    reduced: dict[str, str]
    """{method label: what its training was short of, in words}, for methods trained for less than
    they should be."""

    select: Selection | None
    """None: every strength is a row of its own."""

    baseline: str
    """Label of the method that the others are compared with."""

    imported: frozenset[str]
    """Labels of the arms that were measured elsewhere; they are not in `methods`."""

    confidence: float
    """Coverage of the intervals; 1 - confidence is the level of the tests."""

    correction: str
    """How p-values of the confirmatory family are adjusted, a method of `stats.adjust`."""

    @property
    def alpha(self) -> float:
        """The level of the tests."""
        return 1.0 - self.confidence


def parse_plan(manifest: dict[str, Any]) -> Plan:
    """The plan in `manifest`; StoreError that names what is missing or of the wrong form."""
    try:
        return _plan(manifest)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            f"manifest.json does not say what an analysis needs: {type(error).__name__}: {error}",
            "Start the run again with the same grid, which writes the manifest anew.",
        ) from error


def planned_cells(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The cells that make up a run.

    Args:
        manifest: The content of manifest.json.

    Returns:
        {cell id: what the manifest says of it}: the grid's cells, repetitions too, then imported
        ones.

    Raises:
        StoreError: If the manifest has no list of cells.
    """
    try:
        imported = (manifest.get("imported") or {}).get("cells", [])
        return {str(cell["cell_id"]): cell for cell in (*manifest["cells"], *imported)}
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"manifest.json does not list the run's cells: {type(error).__name__}: {error}",
            "Start the run again with the same grid, which writes the manifest again.",
        ) from error


def metric_kinds(manifest: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """{(task, metric): kind} of the declared metrics; a manifest without tasks declares none."""
    return {
        (str(task), str(metric)): str(known["kind"])
        for task, entry in _entries(manifest.get("tasks"))
        for metric, known in _entries(entry.get("metrics"))
        if "kind" in known
    }


def _entries(found: object) -> list[tuple[str, Mapping[str, Any]]]:
    """The entries of an object of objects; what has another form is for `parse_plan` to refuse."""
    if not isinstance(found, Mapping):
        return []
    return [(key, entry) for key, entry in found.items() if isinstance(entry, Mapping)]


def _plan(manifest: dict[str, Any]) -> Plan:
    select, analysis = manifest.get("select"), manifest["analysis"]
    imported = manifest.get("imported") or {"baseline": None, "cells": []}
    labels = frozenset(str(cell["method"]) for cell in imported["cells"])
    if both := sorted(labels & manifest["methods"].keys()):
        raise ValueError(f"{both[0]!r} is a method of the grid and an imported arm")
    return Plan(
        name=str(manifest["name"]),
        cells=tuple(
            _cell(cell)
            for cell in (*manifest["cells"], *imported["cells"])
            if "repeats" not in cell
        ),
        repeats={c["cell_id"]: str(c["repeats"]) for c in manifest["cells"] if "repeats" in c},
        tasks={name: _task(name, entry) for name, entry in manifest["tasks"].items()},
        methods=tuple(manifest["methods"]),
        reduced=_reduced(manifest["methods"]),
        select=Selection(select.get("metric") or "", select.get("task")) if select else None,
        baseline=str(imported["baseline"] or analysis.get("baseline", "none")),
        imported=labels,
        confidence=float(analysis.get("confidence", 0.95)),
        correction=str(analysis.get("correction", "holm")),
    )


def _reduced(methods: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        label: ", ".join(
            f"{name} {value} instead of {full}" for name, (value, full) in short.items()
        )
        for label, method in methods.items()
        if (short := method.get("reduced"))
    }


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    """A planned cell with the types of the item rows; an unsteered one may leave fields null."""
    names = ("cell_id", "model", "method", "task", "fit_seed", "sample_seed", "fewshot_seed")
    known = {name: cell[name] for name in names}
    layer, strength = cell["layer"], cell["strength"]
    return known | {
        "layer": "" if layer is None else str(layer),
        "strength": 0.0 if strength is None else float(strength),
    }


def _task(name: str, entry: dict[str, Any]) -> Task:
    metrics = {
        metric: Metric(metric, str(known["kind"]), bool(known["higher_is_better"]))
        for metric, known in entry["metrics"].items()
    }
    margin = entry.get("margin")
    return Task(
        name=name,
        role=str(entry["role"]),
        margin=None if margin is None else float(margin),
        primary=str(entry["primary_metric"]),
        cluster=entry.get("cluster"),
        metrics=metrics,
        benchmark=entry.get("benchmark"),
        stand_ins=tuple(
            name for name, judge in (entry.get("judges") or {}).items() if judge["stand_in"]
        ),
    )
