"""Every cell's files against its record, and its record against its id and the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from steereval.common.errors import StoreError
from steereval.results.store import parquet
from steereval.results.store.cell_record import CellKey, CellRecord
from steereval.results.store.content import disagreements
from steereval.results.store.identity import id_of
from steereval.results.store.manifest import Manifest
from steereval.results.store.retired import retired
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification.finding import Finding

Records = Mapping[str, CellRecord]


def check_cells(run: RunFolder, manifest: Manifest, records: Records) -> Iterator[Finding]:
    """Hashes, schema, counts, ids and columns of all cells, and which are missing or too many."""
    planned, apart = manifest.members, retired(run).stored()
    for cell_id, cell in planned.items():
        if cell_id not in records:
            how = "is still set apart: start the run again" if cell_id in apart else "has no record"
            yield Finding(_name(cell), f"the cell {cell_id} is planned and {how}")
    for planned_cell in manifest.cells:
        if (first := planned_cell.repeats) is not None and first not in planned:
            yield Finding(_name(planned_cell), f"it repeats the cell {first}, which is not planned")
    for disagreement in disagreements(run, manifest, records):
        yield Finding(disagreement.where, str(disagreement))
    for cell_id, record in records.items():
        where = f"{cell_id} ({record.name or 'unnamed'})"
        yield from _identity(where, cell_id, record, planned[cell_id])
        if record.is_done:
            yield from _files(run, where, cell_id, record, planned[cell_id])
    for cell_id in sorted(run.stored() - planned.keys()):
        yield Finding(
            cell_id,
            "the manifest does not plan this cell, so no table counts it, while readers of "
            "cells/*.parquet do: start the run again, which sets it apart",
        )


def _name(cell: CellKey) -> str:
    seed = "" if cell.fit_seed is None else f" seed {cell.fit_seed}"
    return f"{cell.method} T={cell.strength:g}{seed} on {cell.task}, {cell.model}"


def _identity(where: str, cell_id: str, record: CellRecord, cell: CellKey) -> Iterator[Finding]:
    identity = record.identity
    if identity is None:
        yield Finding(where, "its record holds no identity")
        return
    if (computed := id_of(identity)) != cell_id:
        yield Finding(where, f"its identity has the id {computed}")
    try:
        columns = _columns(identity)
    except (KeyError, TypeError, IndexError, AttributeError):
        yield Finding(where, "its identity has another form than this program writes")
        return
    for name, value in columns.items():
        if value != (planned := getattr(cell, name)):
            yield Finding(
                where, f"{name} is {value!r} in its identity and {planned!r} in the manifest"
            )


def _columns(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of rows that an identity decides; a method's label is not among them."""
    seeds = {name: identity[name] for name in ("sample_seed", "fewshot_seed")}
    if "imported" in identity:
        same = {name: identity[name] for name in ("model", "task")}
        return same | seeds | {"method": identity["imported"], "fit_seed": None}
    model, method = identity["model"], identity["method"]
    return seeds | {
        "model": model["name"],
        "layer": model["layers"][0] if model["layers"] else "",
        "strength": method["strengths"][0] if method["strengths"] else 0.0,
        "task": identity["task"]["name"],
        "fit_seed": identity["fit_seed"],
    }


def _files(
    run: RunFolder,
    where: str,
    cell_id: str,
    record: CellRecord,
    cell: CellKey,
) -> Iterator[Finding]:
    try:
        items, responses = run.read_cell(cell_id)
        parquet.check_cell_column(items, cell_id, "items")
        parquet.check_cell_column(responses, cell_id, "responses")
    except StoreError as error:
        yield Finding(where, error.problem)
        return
    counts = {
        "items": pc.count_distinct(items["item_id"]).as_py(),
        "rows": items.num_rows,
        "responses": responses.num_rows,
    }
    recorded = record.counts.plain() if record.counts else None
    if counts != recorded:
        yield Finding(where, f"it holds {counts}, and its record says {recorded}")
    if foreign := set(_values(responses, "item_id")) - set(_values(items, "item_id")):
        yield Finding(where, f"{len(foreign)} items have responses and no scores")
    for name, value in cell.columns().items():
        values = _values(items, name)
        if values != [value]:
            yield Finding(where, f"{name} is {values} in its rows and {value!r} in the manifest")


def _values(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = pc.unique(table[name]).to_pylist()
    return values
