"""The report's figures against the statistics computed once more from the rows."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steereval.common.errors import StoreError
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report.writers.item_lines import write_item_lines
from steereval.results.report.writers.leaderboard_table import FLAT_SCHEMA, csv_bytes, flat_table
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification.finding import Finding

RELATIVE = 1e-6
"""By so much a figure may differ: sums round by the number of threads."""

PARQUET = "leaderboard.parquet"
CSV = "leaderboard.csv"
ITEMS = "items.jsonl"

_NAMES = ("model", "task", "metric", "method", "layer")


ReadReport = Callable[[str], bytes | None]
"""Reads a file of a report by its name; None if there is none."""


def check_statistics(run: RunFolder, report: ReadReport) -> Iterator[Finding]:
    """leaderboard.parquet, leaderboard.csv and items.jsonl of a report."""
    try:
        table = flat_table(analyse(run).rows)
    except StoreError as error:
        yield Finding("statistics", f"they cannot be computed: {error.problem}")
        return
    files = {name: report(name) for name in (PARQUET, CSV, ITEMS)}
    if all(data is None for data in files.values()):
        yield Finding("report", "there is none, so nothing is compared with it", False)
        return
    for name, data in files.items():
        if data is None:
            yield Finding(name, "it is missing from the report")
    if (data := files[PARQUET]) is not None:
        yield from _tables(data, files[CSV], table)
    if (lines := files[ITEMS]) is not None:
        yield from _items(run, lines)


def _tables(data: bytes, text: bytes | None, table: pa.Table) -> Iterator[Finding]:
    try:
        reported = pq.read_table(pa.BufferReader(data))
    except (OSError, pa.ArrowInvalid) as error:
        yield Finding(PARQUET, f"it cannot be read: {error}")
        return
    if text is not None and text != csv_bytes(reported):
        yield Finding(CSV, f"it differs from {PARQUET}")
    if reported.schema.names != FLAT_SCHEMA.names:
        yield Finding(PARQUET, "it has other columns than this program's reports")
    elif reported.num_rows != table.num_rows:
        yield Finding(
            PARQUET, f"it has {reported.num_rows} rows, and the run gives {table.num_rows}"
        )
    else:
        for row, computed in zip(reported.to_pylist(), table.to_pylist(), strict=True):
            yield from _row(row, computed)


def _row(reported: dict[str, Any], computed: dict[str, Any]) -> Iterator[Finding]:
    other = [name for name in reported if not _is_same(reported[name], computed[name])]
    if other:
        more = f" (and {len(other) - 1} more figures)" if len(other) > 1 else ""
        yield Finding(
            " · ".join(str(computed[name]) for name in _NAMES if computed[name]),
            f"{other[0]} is {reported[other[0]]} in the report and {computed[other[0]]} by the "
            f"rows{more}",
        )


def _is_same(reported: Any, computed: Any) -> bool:
    if isinstance(reported, float) and isinstance(computed, float):
        return math.isclose(reported, computed, rel_tol=RELATIVE, abs_tol=RELATIVE)
    return bool(reported == computed)


def _items(run: RunFolder, lines: bytes) -> Iterator[Finding]:
    number = 0
    with tempfile.TemporaryDirectory() as folder, io.BytesIO(lines) as reported:
        again = Path(folder) / ITEMS
        write_item_lines(run, again)
        with again.open("rb") as computed:
            for number, line in enumerate(computed, 1):
                if reported.readline() != line:
                    yield Finding(ITEMS, f"line {number} is not what the rows say")
                    return
        if reported.readline():
            yield Finding(ITEMS, f"it has more lines than the {number} of the rows")
