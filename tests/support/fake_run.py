"""Fake runs with planted effects, so that every verdict is known beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steereval.results.store.cell_record import CellFacts
from steereval.results.store.identity import id_of
from steereval.results.store.manifest import Manifest
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA

Floats = npt.NDArray[np.float64]

VERSIONS = {name: version(name) for name in ("steereval", "pyarrow")}


TRAITS = {
    "odesteer": ["barrier", "flow"],
    "step_odesteer": ["barrier"],
    "gradient_ascent": ["barrier"],
    "caa": ["constant"],
}
"""As the harness writes them; other fake methods have none."""


@dataclass(frozen=True)
class FakeTask:
    """A task whose items have latent scores, which a method's planted effect moves."""

    name: str
    metric: str = "acc"
    kind: str = "binary"
    role: str = "target"
    margin: float | None = None
    higher_is_better: bool = True
    n_validation: int = 60
    n_test: int = 240
    n_clusters: int | None = None
    n_folds: int = 1
    base: float = 0.5
    benchmark: str | None = None
    item_id: Callable[[str, int], str] = lambda task, i: f"{task}-{i:05d}"
    beside: tuple[FakeTask, ...] = ()
    """Other metrics of the same items, whose planted effects go by their own names."""
    share: Callable[[str, float], float] | None = None
    """Share of ones by method and strength, instead of latent scores."""


@dataclass(frozen=True)
class FakeMethod:
    """A method with its effect on each task as a function of the strength."""

    name: str
    strengths: tuple[float, ...] = (1.0,)
    effect: Callable[[str, float], float] = lambda task, strength: 0.0
    layers: tuple[str, ...] = ("14",)
    seed_sd: float = 0.0
    reduced: dict[str, list[float]] = field(default_factory=dict)
    displacement: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeRun:
    """A grid: methods × models × tasks × strengths × seeds, with the baseline "none"."""

    methods: tuple[FakeMethod, ...]
    tasks: tuple[FakeTask, ...]
    models: tuple[str, ...] = ("tiny",)
    fit_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    sample_seeds: tuple[int, ...] = (0,)
    select: dict[str, Any] | None = field(
        default_factory=lambda: {"on": "validation", "metric": "acc", "task": None}
    )
    noise: float = 0.35
    fails: Callable[[dict[str, Any]], bool] = lambda cell: False
    baseline: bool = True
    value: Callable[[dict[str, Any], Floats], Floats] = lambda cell, values: values
    lost: Callable[[dict[str, Any], Floats], Floats] = lambda cell, values: np.zeros(len(values))
    """Nonzero for items whose rows a cell lacks, by their values."""
    repeated: tuple[str, ...] = ()
    noise_floor: Callable[[Floats], Floats] = lambda values: values
    responses: Callable[[dict[str, Any], list[str]], pa.Table] | None = None


def generator_of(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest[:8], "big")))


def cells_of(run: FakeRun) -> Iterator[dict[str, Any]]:
    arms: list[tuple[str, str, float, int | None]] = []
    if run.baseline:
        arms.append(("none", "", 0.0, None))
    arms += [
        (method.name, layer, strength, seed)
        for method in run.methods
        for layer in method.layers
        for strength in method.strengths
        for seed in run.fit_seeds
    ]
    for model in run.models:
        for task in run.tasks:
            for method, layer, strength, fit_seed in arms:
                for sample_seed in run.sample_seeds:
                    cell = {
                        "model": model,
                        "method": method,
                        "strength": strength,
                        "layer": layer,
                        "task": task.name,
                        "fit_seed": fit_seed,
                        "sample_seed": sample_seed,
                        "fewshot_seed": 0,
                    }
                    yield {"cell_id": id_of(identity_of(cell))} | cell


def identity_of(cell: dict[str, Any]) -> dict[str, Any]:
    """As `steereval.harness.planning.plan.Cell.identity` has it, of what a fake cell knows."""
    return {
        "model": {"name": cell["model"], "layers": [cell["layer"]] if cell["layer"] else []},
        "method": {"name": cell["method"], "strengths": [cell["strength"]]},
        "task": {"name": cell["task"]},
        **{name: cell[name] for name in ("fit_seed", "sample_seed", "fewshot_seed")},
        **({"repeat": True} if "repeats" in cell else {}),
    }


def repeats_of(run: FakeRun) -> Iterator[dict[str, Any]]:
    """The first cell of each repeated method on each model and task, again."""
    seen = set()
    for cell in cells_of(run):
        key = (cell["model"], cell["task"], cell["method"])
        if cell["method"] in run.repeated and key not in seen:
            seen.add(key)
            again = cell | {"method": f"{cell['method']} (repeated)", "repeats": cell["cell_id"]}
            yield again | {"cell_id": id_of(identity_of(again))}


def values_of(run: FakeRun, task: FakeTask, cell: dict[str, Any]) -> tuple[Floats, Floats]:
    """(value, weight) of each item: latent item difficulty, planted effect, seed, noise."""
    n = task.n_validation + task.n_test
    items = generator_of("items", cell["model"], task.name)
    latent = items.normal(0, 0.3, n)
    tokens = items.integers(5, 40, n).astype(float)
    method = next((m for m in run.methods if m.name == cell["method"]), None)
    shift = 0.0
    if method is not None:
        shift = method.effect(task.name, cell["strength"])
        seed_draw = generator_of("seed", cell["model"], cell["method"], task.name, cell["fit_seed"])
        shift += seed_draw.normal(0, method.seed_sd)
    setting = {name: value for name, value in cell.items() if name != "cell_id"}
    draw = hashlib.sha256(repr(sorted(setting.items())).encode()).hexdigest()[:16]
    noise = generator_of("noise", draw, *setting.values()).normal(0, run.noise, n)
    if task.share is not None:
        ones = round(task.share(cell["method"], cell["strength"]) * n)
        return (items.permutation(n) < ones).astype(float), np.ones(n)
    if task.kind == "ratio":
        return tokens * (3.0 + latent + shift) + noise * np.sqrt(tokens), tokens
    score = task.base + latent + shift + noise
    if task.kind == "binary":
        score = (score > 0.5).astype(float)
    elif task.kind == "bounded":
        score = np.clip(score, 0, 1)
    return score, np.ones(n)


def item_table(run: FakeRun, task: FakeTask, cell: dict[str, Any]) -> pa.Table:
    return pa.concat_tables(_metric(run, task, each, cell) for each in (task, *task.beside))


def _metric(run: FakeRun, task: FakeTask, each: FakeTask, cell: dict[str, Any]) -> pa.Table:
    """The rows of one metric, `each`, of the items of `task`."""
    values, weights = values_of(run, each, first_of(cell))
    n = len(values)
    folds: list[int | None] = [None] * n
    if first_of(cell)["method"] != "none" and task.n_folds > 1:
        folds = [i % task.n_folds for i in range(n)]
    clusters: list[str | None] = [None] * n
    if task.n_clusters is not None:
        clusters = [f"c{i % task.n_clusters}" if i % 29 else None for i in range(n)]
    shown = run.value(cell, values)
    columns = {name: [cell[name]] * n for name in cell if name != "repeats"} | {
        "metric": [each.metric] * n,
        "higher_is_better": [each.higher_is_better] * n,
        "item_id": [task.item_id(task.name, i) for i in range(n)],
        "cluster_id": clusters,
        "split": ["validation" if i < task.n_validation else "test" for i in range(n)],
        "fold": folds,
        "value": shown,
        "weight": weights,
    }
    table = pa.table({name: columns[name] for name in ITEM_SCHEMA.names}, schema=ITEM_SCHEMA)
    return table.filter(pa.array(run.lost(cell, shown) == 0))


def first_of(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell that a repetition repeats, or the cell itself: what its scores are drawn from."""
    if "repeats" not in cell:
        return cell
    method = cell["method"].removesuffix(" (repeated)")
    bare = {name: cell[name] for name in cell if name not in ("cell_id", "repeats")}
    return {"cell_id": cell["repeats"]} | bare | {"method": method}


def again(run: FakeRun, items: pa.Table) -> pa.Table:
    """The rows of a repetition, with the run's noise floor on them."""
    place = items.schema.get_field_index("value")
    values = pa.array(run.noise_floor(items["value"].to_numpy()))
    return items.set_column(place, items.schema.field(place), values)


def response_table(cell: dict[str, Any], item_ids: list[str]) -> pa.Table:
    n = len(item_ids)
    prompts = [f"Q: {i}\nA:" for i in item_ids]
    columns = {
        "cell_id": [cell["cell_id"]] * n,
        "task": [cell["task"]] * n,
        "item_id": item_ids,
        "request": [0] * n,
        "kind": ["loglikelihood"] * n,
        "prompt_hash": [hashlib.sha256(p.encode()).hexdigest()[:16] for p in prompts],
        "prompt": prompts,
        "continuation": [" An answer."] * n,
        "log_likelihood": [-1.5] * n,
        "is_greedy": [True] * n,
    }
    return pa.table(columns, schema=RESPONSE_SCHEMA)


def manifest_of(run: FakeRun, cells: list[dict[str, Any]]) -> Manifest:
    return Manifest.model_validate(
        {
            "schema_version": 1,
            "name": "fake-run",
            "grid": {"name": "fake-run"},
            "cells": cells,
            "tasks": {
                task.name: {
                    "role": task.role,
                    "margin": task.margin,
                    "primary_metric": task.metric,
                    "cluster": "the question's category" if task.n_clusters else None,
                    "benchmark": task.benchmark,
                    "metrics": {
                        each.metric: {"kind": each.kind, "higher_is_better": each.higher_is_better}
                        for each in (task, *task.beside)
                    },
                }
                for task in run.tasks
            },
            "methods": {
                method.name: {
                    "name": method.name,
                    "options": {},
                    "unit": "absolute",
                    "reduced": method.reduced,
                    "traits": TRAITS.get(method.name, []),
                }
                for method in [FakeMethod("none"), *run.methods]
            },
            "select": run.select,
            "analysis": {"baseline": "none", "confidence": 0.95, "correction": "holm"},
            "contrasts": {"truthful-mini": {"hash": "abc", "n_positive": 800, "n_negative": 900}},
            "versions": VERSIONS,
            "created": "2026-01-01T00:00:00+00:00",
            "machine": {"cpu": "test"},
        }
    )


def bare_manifest(*cells: dict[str, Any], **parts: Any) -> Manifest:
    """A manifest with hardly more than it must have."""
    needed: dict[str, Any] = {"tasks": {}, "methods": {}, "analysis": {}, "schema_version": 1}
    return Manifest.model_validate(needed | {"name": "x", "cells": list(cells)} | parts)


def with_methods(manifest: Manifest, **changes: Any) -> Manifest:
    """`manifest` with other values of each of its methods."""
    methods = {m: entry.model_copy(update=changes) for m, entry in manifest.methods.items()}
    return manifest.model_copy(update={"methods": methods})


def facts(**parts: Any) -> CellFacts:
    """What is known of a cell."""
    return CellFacts.model_validate(parts)


def write_run(run: FakeRun, path: Path) -> RunFolder:
    """Write the whole fake run into `path`; cells for which `fails` holds are failures."""
    with mock.patch("os.fsync"):  # a fake run need not survive a crash of the machine
        return _write_run(run, path)


def _write_run(run: FakeRun, path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.create()
    cells = [*cells_of(run), *repeats_of(run)]
    folder.write_manifest(manifest_of(run, cells))
    tasks = {task.name: task for task in run.tasks}
    displacements = {method.name: method.displacement for method in run.methods}
    for cell in cells:
        if run.fails(cell):
            error = {"error": {"type": "CellError", "message": "the layer <14> is gone"}}
            name = f"{cell['method']} T={cell['strength']:g} on {cell['task']}, {cell['model']}"
            folder.write_failure(cell["cell_id"], facts(name=name, **error))
            continue
        items = item_table(run, tasks[cell["task"]], cell)
        if "repeats" in cell:
            items = again(run, items)
        speed = 100.0 if cell["method"] == "none" else 90.0
        folder.write_cell(
            cell["cell_id"],
            items,
            (run.responses or response_table)(cell, items["item_id"].unique().to_pylist()),
            facts(
                name=f"{cell['method']} on {cell['task']}",
                identity=identity_of(cell),
                timings={"seconds": 2.0, "tokens_per_second": speed},
                displacement=displacements.get(cell["method"], {}),
                batch_size=16 if "repeats" in cell else 32,
                environment={
                    "host": "here",
                    "pid": 2 if "repeats" in cell else 1,
                    "versions": VERSIONS,
                },
            ),
        )
    return folder


def planted() -> FakeRun:
    """One method that helps, most at strength 2, one that does nothing and one that harms."""

    def helps(task: str, strength: float) -> float:
        return 0.0 if task == "capability" else {1.0: 0.15, 2.0: 0.35, 4.0: -0.2}[strength]

    def harms(task: str, strength: float) -> float:
        return -0.3 * strength

    return FakeRun(
        methods=(
            FakeMethod("helps", (1.0, 2.0, 4.0), helps, seed_sd=0.02),
            FakeMethod("nothing", (1.0, 2.0)),
            FakeMethod("harms", (1.0,), harms),
        ),
        tasks=(
            FakeTask("truth", n_clusters=12),
            FakeTask("toxicity", metric="toxicity", kind="bounded", higher_is_better=False),
            FakeTask("capability", role="capability", margin=0.08, n_validation=0, base=0.7),
        ),
    )
