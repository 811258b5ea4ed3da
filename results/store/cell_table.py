"""The cells of a run as a table: what was planned, and what became of it."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from steereval.results.store.manifest import parse_plan, planned_cells
from steereval.results.store.run_folder import RunFolder

PENDING = "pending"

_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()

CELL_SCHEMA: Final = pa.schema(
    [
        *[pa.field(name, _TEXT, False) for name in ("cell_id", "model", "method")],
        pa.field("strength", _NUMBER, False),
        *[pa.field(name, _TEXT, False) for name in ("layer", "task")],
        pa.field("fit_seed", _COUNT),
        *[pa.field(name, _COUNT, False) for name in ("sample_seed", "fewshot_seed")],
        pa.field("status", _TEXT, False),
        pa.field("imported", pa.bool_(), False),
        ("repeats", _TEXT),
        *[(name, _COUNT) for name in ("items", "rows", "responses", "tokens")],
        *[(name, _NUMBER) for name in ("seconds", "fit_seconds", "tokens_per_second")],
        ("displacement", _NUMBER),
        *[(name, _TEXT) for name in ("group_id", "path", "host", "device", "error")],
    ]
)
"""Null is what does not apply or was not recorded."""


def cell_table(run: RunFolder) -> pa.Table:
    """A row of CELL_SCHEMA for each planned and imported cell, in the order of the plan."""
    manifest, records = run.read_manifest(), run.records()
    imported = parse_plan(manifest).imported
    rows = [
        cell | {"imported": cell["method"] in imported} | _measured(records.get(cell_id))
        for cell_id, cell in planned_cells(manifest).items()
    ]
    return pa.Table.from_pylist(rows, schema=CELL_SCHEMA)


def _measured(record: dict[str, Any] | None) -> dict[str, Any]:
    if record is None:
        return {"status": PENDING}
    timings, environment = record.get("timings") or {}, record.get("environment") or {}
    counts, error = record.get("counts") or {}, record.get("error") or {}
    moved = list((record.get("displacement") or {}).values())
    return {
        "status": record["status"],
        **{name: counts.get(name) for name in ("items", "rows", "responses")},
        **{
            name: timings.get(name)
            for name in ("tokens", "seconds", "fit_seconds", "tokens_per_second")
        },
        "displacement": sum(moved) / len(moved) if moved else None,
        "group_id": (record.get("group") or {}).get("id"),
        "path": record.get("path"),
        "host": environment.get("host"),
        "device": environment.get("device"),
        "error": error.get("message"),
    }
