"""Tables to Parquet bytes and back, with every doubt about a file put into words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steereval.common.errors import StoreError
from steereval.common.text import first_line
from steereval.results.store.manifest import BINARY, BOUNDED, RATIO
from steereval.results.store.schema import SCHEMA_VERSION, SPLITS, VERSION_KEY

START_AGAIN = "Delete it and start the run again, which computes that cell again."

ROWS, ROWS_PER_BYTE = 1_000_000, 100
"""Rows that any file may hold, and further ones for each of its bytes."""
CHECK_SCORING = "Check how the task, or the judge, scores that item."
"""Remedy where a cell is about to be written."""

ROUNDING = 1e-6
"""By so much a bounded score may leave [0, 1]: sums of probabilities round."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

Kinds = Mapping[tuple[str, str], str]
"""{(task, metric): kind}, as the manifest declares them."""


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


def check_items(items: pa.Table, cell_id: str, kinds: Kinds, remedy: str) -> None:
    """Refuse item rows that no analysis could use.

    Args:
        items: Rows of ITEM_SCHEMA, of one cell.
        cell_id: The cell, for the message.
        kinds: {(task, metric): kind}; a metric that it lacks may have any value but NaN.
        remedy: What to do about rows that are refused.

    Raises:
        StoreError: For no rows at all, a NaN, a value outside the metric's range, a weight that the
            metric cannot have, an unknown split, or two rows for one item and metric. It names the
            cell, and the metric, item and value of the first such row.
    """
    if items.num_rows == 0:
        raise StoreError(f"cell {cell_id} has no item rows", "Record it as failed.")
    foreign = set(pc.unique(items["split"]).to_pylist()) - set(SPLITS)
    if foreign:
        raise StoreError(f"cell {cell_id} has the splits {foreign}", f"Known: {', '.join(SPLITS)}.")
    _check_numbers(items, cell_id, kinds, remedy)
    keys = ["task", "metric", "item_id"]
    counted = items.select(keys).group_by(keys).aggregate([([], "count_all")])
    if counted.num_rows != items.num_rows:
        twice = counted.filter(pc.greater(counted["count_all"], 1)).slice(0, 1).to_pylist()[0]
        raise StoreError(
            f"cell {cell_id} has {twice['count_all']} rows for the metric {twice['metric']} of "
            f"item {twice['item_id']} of {twice['task']}",
            remedy,
        )


def _check_numbers(items: pa.Table, cell_id: str, kinds: Kinds, remedy: str) -> None:
    values, weights = items["value"].to_numpy(), items["weight"].to_numpy()
    pairs = items.select(["task", "metric"]).group_by(["task", "metric"]).aggregate([])
    for pair in pairs.to_pylist():
        kind = kinds.get((pair["task"], pair["metric"]))
        here = np.ones(len(values), dtype=np.bool_)
        if pairs.num_rows > 1:
            same = [pc.equal(items[name], pair[name]) for name in ("task", "metric")]
            here = np.asarray(pc.and_(*same).to_numpy())
        wrong, rule = _wrong_value(values, kind)
        heavy, rule_of_weights = _wrong_weight(values, weights, kind)
        for name, column, is_bad, must in (
            ("value", values, wrong, rule),
            ("weight", weights, heavy, rule_of_weights),
        ):
            if (places := np.flatnonzero(is_bad & here)).size:
                item = items["item_id"][int(places[0])].as_py()
                raise StoreError(
                    f"cell {cell_id} has the {name} {column[places[0]]:g} for the metric "
                    f"{pair['metric']} of item {item} of {pair['task']}, and {must}",
                    remedy,
                )


def _wrong_value(values: Floats, kind: str | None) -> tuple[Mask, str]:
    """[rows], whether a value is impossible in a metric of this kind, and the rule in words."""
    if kind == BINARY:
        return (values != 0.0) & (values != 1.0), "a binary metric is 0 or 1"
    if kind == BOUNDED:
        inside = (values >= -ROUNDING) & (values <= 1.0 + ROUNDING)
        return ~inside, "a bounded metric lies between 0 and 1"
    return np.isnan(values), "NaN is not a score"


def _wrong_weight(values: Floats, weights: Floats, kind: str | None) -> tuple[Mask, str]:
    """The same of the weights. An empty text has no tokens, so its sum is 0 as well."""
    if kind is None or kind == RATIO:
        empty = (weights == 0.0) & (values == 0.0)
        usable = (weights > 0.0) & np.isfinite(weights)
        return ~(usable | empty), "a weight is a finite number above 0"
    return weights != 1.0, f"the weight of a {kind} metric is 1"


def check_cell_column(table: pa.Table, cell_id: str, what: str) -> None:
    """Refuse rows that belong to another cell."""
    others = set(pc.unique(table["cell_id"]).to_pylist()) - {cell_id}
    if others:
        raise StoreError(f"the {what} of cell {cell_id} name the cells {sorted(map(str, others))}")


def decode(
    name: str,
    data: bytes | None,
    schema: pa.Schema,
    expected: dict[str, Any],
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The table in the file `name`, or some of its columns; a StoreError where the file has not the
    size and the hash that its record says."""
    if data is None:
        raise StoreError(f"{name} is missing", START_AGAIN)
    if digest(data) != expected:
        raise StoreError(
            f"{name} is not what the cell's record says: {len(data)} bytes instead of "
            f"{expected.get('bytes')}, or other contents",
            "Delete it and the cell's record, a .json of the same name in cells/, and start the "
            "run again, which computes that cell again.",
        )
    return parse(name, data, schema, columns)


def parse(
    name: str, data: bytes, schema: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    """The Parquet bytes of the file `name` as a table of `schema`, or some of its columns."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_rows(name, file.metadata.num_rows, len(data))
        stored = file.schema_arrow
        table = file.read(columns=columns, use_threads=False)
        _check_texts(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise StoreError(f"{name} is damaged: {first_line(error)}", START_AGAIN) from error
    check_version((stored.metadata or {}).get(VERSION_KEY), name)
    if not stored.equals(schema, check_metadata=False):
        raise StoreError(f"{name} has other columns than schema {SCHEMA_VERSION}", START_AGAIN)
    return table


def _check_rows(name: str, rows: int, size: int) -> None:
    """Refuse a table that would take far more memory than its file."""
    most = ROWS + ROWS_PER_BYTE * size
    if rows > most:
        raise StoreError(
            f"{name} claims {rows} rows, and a file of {size} bytes may hold {most}", START_AGAIN
        )


def _check_texts(table: pa.Table) -> None:
    """Raise ArrowInvalid for texts that are not UTF-8 and offsets outside their column."""
    table.validate(full=True)


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
    """Fields of a record about a file: its size in bytes and its SHA-256."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
