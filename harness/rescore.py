"""Scoring a finished run again from its stored answers: with another metric or filter, no model.

Answers are matched by document and by number of the request within it, so that a task may filter
and score them in any new way, as long as it asks as much about the same documents.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from lm_eval.api.instance import Instance

from steereval.cards import card_of, claimed
from steereval.errors import CellError, InputError, nearest_remedy
from steereval.plan import Cell, make_plan
from steereval.preflight import described
from steereval.references import keep_references
from steereval.replay import Replay, evaluated
from steereval.results.manifest import parse_plan
from steereval.results.samples import item_ids, without_direction, without_numbers
from steereval.results.schema import ITEM_SCHEMA
from steereval.results.store import RunFolder
from steereval.rows import PERPLEXITY, directions, doc_hash, item_rows
from steereval.session import manifest
from steereval.spec import Grid, TaskSpec, parse_grid
from steereval.supplies import configured
from steereval.tasks.catalogue import card


def rescore(
    source: RunFolder,
    target: RunFolder,
    renamed: Mapping[str, str],
    data_dir: Path | None,
    say: Callable[[str], None],
) -> int:
    """Score every finished cell of `source` again, into the new folder `target`; how many.

    `renamed` names tasks to score with instead of the run's own. Raises InputError, or CellError
    where a task asks for what the run does not hold.
    """
    if target.path.exists():
        raise InputError(f"{target.path} exists already", "Choose a folder that does not.")
    before = source.read_manifest()
    for name in renamed:
        if name not in before["tasks"]:
            raise InputError(f"the run has no task {name!r}", nearest_remedy(name, before["tasks"]))
    for label in sorted(parse_plan(before).imported):
        say(f"{label} was imported and is left out: import it into the new folder as well")
    old = parse_grid(before["grid"])
    new = _with_tasks(old, renamed)
    tasks = {task.name: configured(task, data_dir) for task in new.tasks}
    plan = list(zip(make_plan(old), make_plan(new), strict=True))
    finished, records = source.finished(), source.records()
    chosen = [(cell, scored) for cell, scored in plan if cell.id in finished]
    target.create()
    target.write_manifest(_manifest(before, new, [scored for _, scored in plan], tasks, data_dir))
    keep_references(target.place, new.tasks, tasks)
    for cell, scored in chosen:
        say(str(scored))
        items, responses = source.read_cell(cell.id)
        _score(target, scored, tasks[scored.task.name], items, responses, records[cell.id])
    return len(chosen)


def _with_tasks(grid: Grid, renamed: Mapping[str, str]) -> Grid:
    """The grid with other tasks, and without metrics that these do not have."""

    def task(spec: TaskSpec) -> TaskSpec:
        name = renamed.get(spec.name, spec.name)
        known = card_of(grid, dataclasses.replace(spec, name=name)).metrics
        metric = spec.metric if spec.metric in known else None
        return dataclasses.replace(spec, name=name, metric=metric)

    tasks = tuple(task(spec) for spec in grid.tasks)
    select = grid.select
    if select is not None:
        known = {metric for spec in tasks for metric in card_of(grid, spec).metrics}
        select = dataclasses.replace(
            select,
            task=renamed.get(select.task, select.task) if select.task else None,
            metric=select.metric if select.metric in known else None,
        )
    return dataclasses.replace(grid, tasks=tasks, select=select)


def _manifest(
    before: dict[str, Any], grid: Grid, cells: Sequence[Cell], tasks: Any, data_dir: Path | None
) -> dict[str, Any]:
    """The new folder's manifest: the models' answers are as old as they are, the scores new."""
    now = manifest(grid, cells, described(grid, tasks, data_dir))
    scored_by = {"lm_eval": now["versions"]["lm_eval"], "created": now["created"]}
    kept = {key: before[key] for key in ("versions", "created", "machine")}
    return now | kept | {"rescored": scored_by}


def _score(
    target: RunFolder,
    cell: Cell,
    task: Any,
    items: pa.Table,
    responses: pa.Table,
    record: dict[str, Any],
) -> None:
    """Write the rows of one cell with their new scores; folds and splits stay what they were."""
    old = items.to_pylist()
    known = {row["item_id"]: row for row in old}
    samples = evaluated(_Stored(responses.to_pylist(), cell), task, cell)
    described = card(cell.task.name)
    scored = item_rows(cell, described, samples, lambda _: None, task)
    own = [row for row in scored if row["metric"] not in claimed(cell.task)]
    rows = [row | {k: known[row["item_id"]][k] for k in ("fold", "split")} for row in own]
    kept = {PERPLEXITY, *claimed(cell.task)}
    rows += [row | cell.summary() for row in old if row["metric"] in kept]
    index = responses.schema.get_field_index("cell_id")
    ids = pa.array([cell.id] * len(responses), responses.schema.field(index).type)
    names = pa.array([cell.task.name] * len(responses), responses.schema.field("task").type)
    told = responses.set_column(index, "cell_id", ids)
    told = told.set_column(told.schema.get_field_index("task"), "task", names)
    facts = {
        "name": str(cell),
        "identity": cell.identity,
        "metrics_without_numbers": without_numbers(samples),
        "metrics_without_direction": without_direction(samples, directions(described, task)),
    }
    target.write_cell(cell.id, pa.Table.from_pylist(rows, schema=ITEM_SCHEMA), told, record | facts)


class _Stored(Replay):
    """A model that answers as a cell did."""

    def __init__(self, responses: Sequence[dict[str, Any]], cell: Cell) -> None:
        super().__init__({})
        self._cell = cell
        self._stored = {(row["item_id"], row["request"]): row for row in responses}

    def _answers(self, kind: str, requests: list[Instance]) -> list[Any]:
        by_document: dict[int | None, list[Instance]] = {}
        for request in requests:
            by_document.setdefault(request.doc_id, []).append(request)
        documents = [
            {"filter": "", "doc_hash": doc_hash(asked[0].doc)} for asked in by_document.values()
        ]
        found: dict[int, Any] = {}
        for item, asked in zip(item_ids(documents), by_document.values(), strict=True):
            if Counter(id(request) for request in asked).most_common(1)[0][1] > 1:
                raise CellError("the task asks for several answers", "Only the first is stored.")
            for number, request in enumerate(sorted(asked, key=lambda each: each.idx)):
                found[id(request)] = self._answer(kind, item, number)
        return [found[id(request)] for request in requests]

    def _answer(self, kind: str, item: str, number: int) -> Any:
        row = self._stored.get((item, number))
        wanted = "generation" if kind == "generate_until" else "loglikelihood"
        if row is None or row["kind"] != wanted:
            raise CellError(
                f"the run holds no {wanted} for request {number} of document {item}, which "
                f"{self._cell.task.name} asks for",
                "Score with a task that asks the same of the same documents.",
            )
        if wanted == "generation":
            return row["continuation"]
        value = row["log_likelihood"]
        return value if kind == "loglikelihood_rolling" else (value, row["is_greedy"])
