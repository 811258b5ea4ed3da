"""Tables to Parquet bytes and back, with every doubt about a file put into words."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steereval.errors import StoreError
from steereval.results.schema import ITEM_SCHEMA, SCHEMA_VERSION, SPLITS, VERSION_KEY

START_AGAIN = "Delete it and start the run again, which computes that cell anew."


def encode(table: pa.Table, schema: pa.Schema, what: str) -> bytes:
    """`table`, called `what` in errors, as Parquet bytes of exactly `schema`, else StoreError."""
    missing = [name for name in schema.names if name not in table.column_names]
    extra = [name for name in table.column_names if name not in schema.names]
    if missing or extra:
        raise StoreError(
            f"the {what} lack the columns {missing} and have the unknown columns {extra}",
            f"The columns of schema version {SCHEMA_VERSION} are {', '.join(schema.names)}.",
        )
    try:
        fitted = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise StoreError(f"the {what} do not fit their schema: {error}") from error
    sink = pa.BufferOutputStream()
    pq.write_table(fitted, sink, compression="zstd")
    return bytes(sink.getvalue())


def check_items(items: pa.Table, cell_id: str) -> None:
    """Refuse item rows that no analysis could use; the writer records a failure instead."""
    if items.num_rows == 0:
        raise StoreError(f"cell {cell_id} has no item rows", "Record it as failed.")
    table = items.select(ITEM_SCHEMA.names)
    if pc.any(pc.is_nan(table["value"])).as_py() or pc.any(pc.is_nan(table["weight"])).as_py():
        raise StoreError(
            f"cell {cell_id} has values that are NaN", "Record the cell as failed, with the reason."
        )
    foreign = set(pc.unique(table["split"]).to_pylist()) - set(SPLITS)
    if foreign:
        raise StoreError(f"cell {cell_id} has the splits {foreign}", f"Known: {', '.join(SPLITS)}.")
    keys = table.select(["task", "metric", "item_id"]).group_by(["task", "metric", "item_id"])
    if keys.aggregate([]).num_rows != table.num_rows:
        raise StoreError(
            f"cell {cell_id} has two rows for one item and metric", "Give each item a name."
        )


def check_cell_column(table: pa.Table, cell_id: str, what: str) -> None:
    """Refuse rows that belong to another cell."""
    others = set(pc.unique(table["cell_id"]).to_pylist()) - {cell_id}
    if others:
        raise StoreError(f"the {what} of cell {cell_id} name the cells {sorted(map(str, others))}")


def decode(name: str, data: bytes | None, schema: pa.Schema, expected: dict[str, Any]) -> pa.Table:
    """The table in the file `name`, whose size and hash its record says; else a StoreError."""
    if data is None:
        raise StoreError(f"{name} is missing", START_AGAIN)
    if digest(data) != expected:
        raise StoreError(
            f"{name} is not what the cell's record says: {len(data)} bytes instead of "
            f"{expected.get('bytes')}, or other contents",
            "Delete it and the cell's record, a .json of the same name in cells/, and start the "
            "run again, which computes that cell anew.",
        )
    return parse(name, data, schema)


def parse(name: str, data: bytes, schema: pa.Schema) -> pa.Table:
    """The Parquet bytes of the file `name` as a table of `schema`."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{name} is damaged: {error}", START_AGAIN) from error
    check_version((table.schema.metadata or {}).get(VERSION_KEY), name)
    if not table.schema.equals(schema, check_metadata=False):
        raise StoreError(f"{name} has other columns than schema {SCHEMA_VERSION}", START_AGAIN)
    return table


def check_version(version: bytes | str | int | None, name: str) -> None:
    """Refuse a file that is not of this program, or of another version of it."""
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    if version is None:
        raise StoreError(f"{name} is not a file of this program: it has no version", START_AGAIN)
    if text != str(SCHEMA_VERSION):
        raise StoreError(
            f"{name} has schema version {text}, and this program reads version {SCHEMA_VERSION}",
            "Read it with the steereval that wrote it, or start the run in a new folder.",
        )


def digest(data: bytes) -> dict[str, Any]:
    """What a record says of a file: its size in bytes and its SHA-256."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
