"""`steereval verify`: a run against its grid and its files, and cells of it run once more."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steereval.common.errors import GridError, InputError, SteerEvalError, StoreError
from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.engine.loading import WorkerSettings
from steereval.harness.judging.rows import write_judgement
from steereval.harness.judging.worker import Judged, JudgeWorker, assignments
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import readers_of_models
from steereval.harness.planning.groups import groups
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.preflight import described, prepare
from steereval.harness.planning.task_resources import configured
from steereval.harness.run.manifest import manifest
from steereval.harness.run.worker import CellWorker
from steereval.results.store.cell_record import CellRecord, PlannedCell
from steereval.results.store.content import Content, changed_parts
from steereval.results.store.diff import Difference, differences
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification import Finding

Say = Callable[[str], None]

_OF_THE_MOMENT = (
    "schema_version", "versions", "created", "machine", "largest_group", "grid", "cells", "content",
)  # fmt: skip
"""Parts of a manifest that are not compared, or on their own."""

_NOT_EXACT = ("training", "steerers_sha256")
"""Parts of a steerer's card that may round otherwise elsewhere."""


@dataclass(frozen=True)
class Again:
    """How cells are run once more."""

    cells: int
    """How many."""
    tolerance: float
    """By so much, relative to 1 or the value where that is larger, an item's value may differ."""
    device: str
    """Device, or `auto`."""
    data_dir: Path | None
    """Folder with benchmark data."""


def check_grid(run: RunFolder, data_dir: Path | None) -> Iterator[Finding]:
    """The manifest and the cells' ids against what the grid in the manifest gives today.

    Finds an edited manifest, and contrast sets, vectors and tasks that have changed since.
    """
    try:
        stored, records = run.read_manifest(), run.records()
    except StoreError:
        return  # reported by verify_tables
    try:
        grid = parse_grid(stored.grid)
        cells = make_plan(grid)
        tasks = {task.name: configured(task, data_dir) for task in grid.tasks}
        fresh = manifest(grid, cells, described(grid, tasks, data_dir))
    except InputError as error:
        is_wrong = isinstance(error, GridError)
        yield Finding("grid", f"it cannot be planned again: {error.problem}", is_wrong)
        return
    before, now = stored.plain(), fresh.plain()
    parts = [key for key in now if key not in _OF_THE_MOMENT]
    old_parts, new_parts = ({key: each.get(key) for key in parts} for each in (before, now))
    for difference in differences(old_parts, new_parts):
        yield Finding(
            "manifest",
            f"{difference.path} is {difference.first}; the grid gives {difference.second}",
        )
    yield from _check_plan(stored.cells, cells, records)
    yield from _check_content(stored.content, fresh.content, grid)


def _check_content(stored: Content, content: Content, grid: Grid) -> Iterator[Finding]:
    """Findings where the run's content differs from the present one."""
    now, missing = dict(content), list[str]()
    for subject, read in readers_of_models(grid).items():
        try:
            now[subject] = read()
        except SteerEvalError as error:
            missing.append(f"the {subject} cannot be compared: {error.problem}")
    for subject, parts in stored.items():
        if subject in now and parts != now[subject]:
            changes = ", ".join(changed_parts(parts, now[subject]))
            yield Finding("content", f"the {subject} changed since the run: {changes}")
    if stored:
        yield from (Finding("content", problem, False) for problem in missing)


def _check_plan(
    stored: Sequence[PlannedCell], cells: Sequence[Cell], records: Mapping[str, CellRecord]
) -> Iterator[Finding]:
    """The ids in the manifest against those of the cells that the grid gives."""
    before = {cell.setting: cell.cell_id for cell in stored}
    now = {cell.planned().setting: cell for cell in cells}
    for setting in before.keys() - now.keys():
        yield Finding(before[setting], "the manifest plans this cell, and its grid does not")
    changes: dict[Difference, list[str]] = {}
    for setting, cell in now.items():
        old = before.get(setting)
        if old is None:
            yield Finding(str(cell), "the grid gives this cell, and the manifest lacks it")
        elif old != cell.id:
            identity = (records[old].identity if old in records else None) or {}
            new = json.loads(json.dumps(cell.identity))
            for difference in differences(identity, new):
                changes.setdefault(difference, []).append(str(cell))
    for difference, names in changes.items():
        more = f", and {len(names) - 1} more cells" if len(names) > 1 else ""
        yield Finding(f"{names[0]}{more}", _changed(difference))


def _changed(difference: Difference) -> str:
    what = difference.path
    if difference.path == "files_digest":
        what = "the content of the files that it reads (files_digest)"
    return f"{what} was {difference.first} and is {difference.second} now"


def run_again(run: RunFolder, again: Again, say: Say) -> Iterator[Finding]:
    """Run some finished cells of the grid once more, and compare every item's value.

    Which ones depends on their ids alone. Raises an InputError if the grid cannot be run here.
    """
    grid = parse_grid(run.read_manifest().grid)
    finished, records = run.finished(), run.records()
    known = [cell for cell in make_plan(grid) if cell.id in finished]
    ranked = sorted(known, key=lambda cell: hashlib.sha256(cell.id.encode()).hexdigest())
    if not known:
        yield Finding("cells", "none that is finished is one that the grid gives today")
        return
    chosen = {cell.id for cell in ranked[: again.cells]}
    cells = [cell for cell in known if cell.id in chosen]
    prepare(grid, again.data_dir, say)
    with tempfile.TemporaryDirectory() as folder:
        fresh = RunFolder(Path(folder))
        fresh.create()
        errors = _run(cells, grid, again, fresh)
        errors |= _judge(grid, again, fresh, run.place.location)
        for cell in cells:
            if cell.id in errors:
                yield Finding(str(cell), f"it failed when it was run again: {errors[cell.id]}")
                continue
            yield from _compare_items(run, fresh, cell, again.tolerance, say)
            yield from _compare_fits(cell, records[cell.id], fresh.records()[cell.id])


def _settings(grid: Grid, again: Again, out: RunFolder) -> WorkerSettings:
    return WorkerSettings(
        out.place.location, str(again.data_dir) if again.data_dir else None,
        grid.run.batch_size, again.device, repeat_batch_size=grid.repeat_batch_size,
    )  # fmt: skip


def _run(cells: Sequence[Cell], grid: Grid, again: Again, out: RunFolder) -> dict[str, str]:
    """Answer `cells` again; the errors by cell id."""
    worker = CellWorker(_settings(grid, again, out))
    errors: dict[str, str] = {}
    for group in groups(cells):
        errors |= worker.run(group, last=True).result.errors
    return errors


def _judge(grid: Grid, again: Again, out: RunFolder, reference: str) -> dict[str, str]:
    """Let judges read what was answered again into `out`; the errors by cell id. `reference` is
    where the run is whose unsteered answers theirs are compared with."""
    judge = JudgeWorker(_settings(grid, again, out), reference)
    errors: dict[str, str] = {}
    for unit in assignments(make_plan(grid), out.finished(), out.records()):
        judged: Judged = judge.run((unit,), last=True).result
        errors |= judged.errors
        for judgement in judged.judgements.values():
            write_judgement(out, unit, judgement)
    return errors


def _compare_items(
    run: RunFolder, fresh: RunFolder, cell: Cell, tolerance: float, say: Say
) -> Iterator[Finding]:
    old, new = _values(run, cell), _values(fresh, cell)
    if old.keys() != new.keys():
        yield Finding(
            str(cell),
            f"run again it scores {len(new.keys() - old.keys())} other items and metrics, and "
            f"lacks {len(old.keys() - new.keys())}",
        )
    apart = {key: _distance(old[key], new[key]) for key in old.keys() & new.keys()}
    largest = max(apart.values(), default=0.0)
    beyond = sum(distance > tolerance for distance in apart.values())
    if beyond:
        yield Finding(
            str(cell),
            f"run again, {beyond} of {len(apart)} values differ by more than {tolerance:g} (by "
            f"{largest:g} at most)",
        )
    else:
        say(f"run again: {cell}: {len(apart)} values agree (largest difference {largest:.2g})")


def _values(run: RunFolder, cell: Cell) -> dict[tuple[str, str], tuple[float, float]]:
    """{(item, metric): (value, weight)}."""
    items, _ = run.read_cell(cell.id)
    columns = (items[name].to_pylist() for name in ("item_id", "metric", "value", "weight"))
    return {(i, metric): (v, w) for i, metric, v, w in zip(*columns, strict=True)}


def _distance(old: tuple[float, float], new: tuple[float, float]) -> float:
    """Between two values, relative to the old one where that is above 1."""
    if old[1] != new[1]:
        return float("inf")
    return 0.0 if old[0] == new[0] else abs(old[0] - new[0]) / max(1.0, abs(old[0]))


def _compare_fits(cell: Cell, old: CellRecord, new: CellRecord) -> Iterator[Finding]:
    """The cards of a cell's steerers; their tensors are the same bits only on the same machine."""
    before, now = ([_exact(card) for card in r.steerers] for r in (old, new))
    for difference in differences(before, now):
        yield Finding(
            str(cell),
            f"steerers{difference.path} was {difference.first} and is {difference.second} now",
        )
    hashes = [[card.get("steerers_sha256") for card in record.steerers] for record in (old, new)]
    if hashes[0] != hashes[1]:
        same_place = old.environment == new.environment
        yield Finding(
            str(cell),
            "its steerers, fitted again, are not the same to the last bit"
            + ("" if same_place else ", which is usual on another machine"),
            same_place,
        )


def _exact(card: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in card.items() if name not in _NOT_EXACT}
