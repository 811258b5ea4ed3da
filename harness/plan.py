"""The plan: every cell of a grid, with an id that is the same before and after it ran."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steereval.errors import GridError, InputError
from steereval.models.methods.registry import get_method, package_of
from steereval.models.positions import Positions
from steereval.results.identity import id_of
from steereval.spec import (
    ContrastSpec,
    Grid,
    JudgeSpec,
    MethodSpec,
    ModelSpec,
    TaskSpec,
    contrasts_of,
    plain,
)
from steereval.tasks.catalogue import family_of
from steereval.tasks.judges.index import get_judge, scorer_of

IDENTITY_VERSION = 6
"""Counts changes to what `Cell.identity` holds, and to how items are named; part of every id."""


@dataclass(frozen=True)
class Cell:
    """One evaluation: a model, steered in one way, on one task."""

    model: ModelSpec
    """The model, with the one set of layers that is steered (none for the unsteered model)."""
    method: MethodSpec
    """The method, with at most one strength."""
    contrast: ContrastSpec | None
    """What the steerer is fitted to; None if it is not fitted."""
    files_digest: str
    """Hash of the files that it reads: a contrast given by path, a vector; empty if none."""
    task: TaskSpec
    """The task."""
    positions: str
    """Which tokens are steered; empty for the unsteered model."""
    fit_seed: int | None
    """Seed of the fit; None where nothing is drawn."""
    sample_seed: int
    """Seed of sampled generation."""
    fewshot_seed: int
    """Seed of the few-shot examples."""
    validation_share: float
    """Share of the items set aside for choosing the strength."""
    is_repeat: bool = False
    """Whether it computes a second time what another cell does, to see what is noise."""

    @property
    def strength(self) -> float:
        """The strength; 0 for the unsteered model."""
        return self.method.strengths[0] if self.method.strengths else 0.0

    @property
    def label(self) -> str:
        """The method's name in tables; one of its own for a repetition, which is no method."""
        name = self.method.label or self.method.name
        return f"{name} (repeated)" if self.is_repeat else name

    @property
    def layer(self) -> str:
        """The steered layers in rows, such as `14` or `12+14`; empty for the unsteered model."""
        return self.model.layers[0] if self.model.layers else ""

    @property
    def package(self) -> str:
        """Package and version that the method comes from; empty for built-in ones."""
        return package_of(self.method.name)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what the cell computes, as plain values."""
        own: dict[str, Any] = {"package": self.package} if self.package else {}
        own |= {"repeat": True} if self.is_repeat else {}
        return own | {
            "version": IDENTITY_VERSION,
            "model": _identity_of(self.model),
            "method": _identity_of(self.method),
            "contrast": _identity_of(self.contrast) if self.contrast else None,
            "files_digest": self.files_digest,
            "task": _identity_of(self.task),
            "positions": self.positions,
            "fit_seed": self.fit_seed,
            "sample_seed": self.sample_seed,
            "fewshot_seed": self.fewshot_seed,
            "validation_share": self.validation_share,
        }

    @property
    def id(self) -> str:
        """Hash of the identity: 16 hexadecimal digits."""
        return id_of(self.identity)

    @property
    def arm(self) -> str:
        """Names model, treatment and seeds, whatever the task is: 16 hexadecimal digits."""
        return id_of({name: value for name, value in self.identity.items() if name != "task"})

    def summary(self) -> dict[str, Any]:
        """The columns by which rows name the cell."""
        return {
            "cell_id": self.id,
            "model": self.model.name,
            "method": self.label,
            "strength": self.strength,
            "layer": self.layer,
            "task": self.task.name,
            "fit_seed": self.fit_seed,
            "sample_seed": self.sample_seed,
            "fewshot_seed": self.fewshot_seed,
        }

    def planned(self) -> dict[str, Any]:
        """What the manifest says of it: `summary`, and the id of the cell that it repeats."""
        first = dataclasses.replace(self, is_repeat=False).id
        return self.summary() | ({"repeats": first} if self.is_repeat else {})

    def __str__(self) -> str:
        """A short name for progress and errors."""
        seed = "" if self.fit_seed is None else f" seed {self.fit_seed}"
        steering = "" if not self.layer else f" T={self.strength:g} layer {self.layer}{seed}"
        return f"{self.label}{steering} on {self.task.name}, {self.model.name}"


def _identity_of(spec: Any) -> dict[str, Any]:
    """The fields of a spec that are part of a cell's identity."""
    fields = spec.__dataclass_fields__.values()
    wanted = [f.name for f in fields if f.metadata["part"] == "identity"]
    return {
        name: plain(getattr(spec, name))
        for name in wanted
        if not isinstance(getattr(spec, name), ContrastSpec)
    }


def make_plan(grid: Grid) -> list[Cell]:
    """All cells of `grid`, each once; methods, options and positions are checked by name.

    Raises an InputError of the kind at fault.
    """
    Positions(grid.positions)
    for method in grid.methods:
        Positions(method.positions or grid.positions)
        chosen = get_method(method.name)
        options = chosen.options(method.options)
        if method.incremental:
            chosen.check_incremental(options)
    for task in grid.tasks:
        for judge in task.judges:
            _check_judge(judge)
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
    """The methods that are run on `task`, with what the grid says of all units."""
    chosen = [m for m in grid.methods if not m.tasks or task.name in m.tasks]
    return [
        m if m.name == "none" else dataclasses.replace(m, unit=grid.match or m.unit) for m in chosen
    ]


def _contrast_of(grid: Grid, task: TaskSpec, method: MethodSpec) -> ContrastSpec | None:
    """What a method is fitted to; None if to nothing. Raises GridError."""
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


GROUP_ARMS = 16
"""Most arms that are answered together: what a kill can cost, and what memory must hold."""


def groups(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """The cells that are answered together: they share a model, a task's requests and layers, or
    those of tasks of one family.

    Unsteered cells go with the first steered ones, repetitions by themselves. What is together does
    not depend on how many workers there are.
    """
    tasks: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        bare = cell.model.without_layers()
        shared = repr((bare, _asks(cell.task), cell.fewshot_seed, cell.is_repeat))
        tasks.setdefault(shared, {}).setdefault(cell.layer, []).append(cell)
    found: list[tuple[Cell, ...]] = []
    for layers in tasks.values():
        plain = layers.pop("", [])
        first, *others = list(layers.values()) or [[]]
        for alike in ([*plain, *first], *others):
            found += _parts(alike)
    return found


def _asks(task: TaskSpec) -> TaskSpec:
    """The same for tasks that are asked together."""
    return dataclasses.replace(task, name=family_of(task.name))


def _parts(cells: Sequence[Cell]) -> Iterator[tuple[Cell, ...]]:
    """Cells in parts of as many arms as are answered together, those of an arm side by side."""
    arms: dict[str, list[Cell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    rows = list(arms.values())
    size = math.ceil(len(rows) / math.ceil(len(rows) / GROUP_ARMS))
    for start in range(0, len(rows), size):
        yield tuple(itertools.chain(*rows[start : start + size]))


def group_id(cells: Sequence[Cell]) -> str:
    """Hash of the cells' ids: 16 hexadecimal digits."""
    ids = " ".join(sorted(cell.id for cell in cells))
    return hashlib.sha256(ids.encode()).hexdigest()[:16]


def files_of(grid: Grid) -> list[Path]:
    """Every file that cells of `grid` read: contrasts given by path, vectors."""
    found: dict[Path, None] = {}
    for method in grid.methods:
        if method.name != "none":
            chosen = get_method(method.name)
            found |= dict.fromkeys(chosen.files(chosen.options(method.options)))
    for contrast in contrasts_of(grid):
        found |= dict.fromkeys(_contrast_files(contrast))
    return list(found)


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
                f"the file {path} cannot be read: {error.strerror}", "Check the path."
            ) from error
    return digest.hexdigest()[:16]
