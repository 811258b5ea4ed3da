"""The cells of a run as a table: what was planned, and what became of it."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from steereval.results.store.cell_record import CellRecord, cell_fields
from steereval.results.store.run_folder import RunFolder

PENDING = "pending"

_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()

CELL_SCHEMA: Final = pa.schema(
    [
        *cell_fields().values(),
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
    repeats = {cell.cell_id: cell.repeats for cell in manifest.cells}
    rows = [
        {
            **cell.columns(),
            "imported": cell_id not in repeats,
            "repeats": repeats.get(cell_id),
            **_measured(records.get(cell_id)),
        }
        for cell_id, cell in manifest.members.items()
    ]
    return pa.Table.from_pylist(rows, schema=CELL_SCHEMA)


def _measured(record: CellRecord | None) -> dict[str, Any]:
    if record is None:
        return {"status": PENDING}
    timings, counts = record.timings, record.counts
    moved = list(record.displacement.values())
    return {
        "status": record.status,
        **{name: getattr(counts, name, None) for name in ("items", "rows", "responses")},
        **{
            name: getattr(timings, name)
            for name in ("tokens", "seconds", "fit_seconds", "tokens_per_second")
        },
        "displacement": sum(moved) / len(moved) if moved else None,
        "group_id": record.group.id if record.group else None,
        "path": record.path,
        "host": record.environment.host,
        "device": record.environment.device,
        "error": record.error.message if record.error else None,
    }
