"""The report's figures against the statistics computed once more from the rows."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steereval.errors import StoreError
from steereval.results.analysis import analyse
from steereval.results.report.flat import FLAT_SCHEMA, csv_bytes, flat_table
from steereval.results.report.item_lines import write_item_lines
from steereval.results.store import RunFolder
from steereval.results.verification.finding import Finding

RELATIVE = 1e-6
"""By so much a figure may differ: sums round by the number of threads."""

_NAMES = ("model", "task", "metric", "method", "layer")


def check_statistics(run: RunFolder, report: Path) -> Iterator[Finding]:
    """leaderboard.parquet, leaderboard.csv and items.jsonl of the folder `report`."""
    try:
        table = flat_table(analyse(run).rows)
    except StoreError as error:
        yield Finding("statistics", f"they cannot be computed: {error.problem}")
        return
    if not report.is_dir():
        yield Finding("report", f"there is none in {report}, so nothing is compared", False)
        return
    yield from _leaderboard(report / "leaderboard.parquet", table)
    yield from _csv(report)
    yield from _items(run, report / "items.jsonl")


def _leaderboard(path: Path, table: pa.Table) -> Iterator[Finding]:
    try:
        told = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        yield Finding(path.name, f"it cannot be read: {error}")
        return
    if told.schema.names != FLAT_SCHEMA.names:
        yield Finding(path.name, "it has other columns than this program's reports")
    elif told.num_rows != table.num_rows:
        yield Finding(path.name, f"it has {told.num_rows} rows, and the run gives {table.num_rows}")
    else:
        for row, computed in zip(told.to_pylist(), table.to_pylist(), strict=True):
            other = [name for name in row if not _is_same(row[name], computed[name])]
            if other:
                first = other[0]
                more = f" (and {len(other) - 1} more figures)" if len(other) > 1 else ""
                yield Finding(
                    " · ".join(str(computed[name]) for name in _NAMES if computed[name]),
                    f"{first} is {row[first]} in the report and {computed[first]} by the "
                    f"rows{more}",
                )


def _is_same(told: Any, computed: Any) -> bool:
    if isinstance(told, float) and isinstance(computed, float):
        return math.isclose(told, computed, rel_tol=RELATIVE, abs_tol=RELATIVE)
    return bool(told == computed)


def _csv(report: Path) -> Iterator[Finding]:
    """The CSV is the Parquet table in other clothes."""
    path = report / "leaderboard.csv"
    try:
        table = pq.read_table(report / "leaderboard.parquet")
        if path.read_bytes() != csv_bytes(table):
            yield Finding(path.name, "it differs from leaderboard.parquet")
    except (OSError, pa.ArrowInvalid) as error:
        yield Finding(path.name, f"it cannot be compared: {error}")


def _items(run: RunFolder, path: Path) -> Iterator[Finding]:
    if not path.is_file():
        yield Finding(path.name, "it is missing from the report")
        return
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / path.name
        write_item_lines(run, again)
        number = 0
        with path.open("rb") as told, again.open("rb") as computed:
            for number, line in enumerate(computed, 1):
                if told.readline() != line:
                    yield Finding(path.name, f"line {number} is not what the rows say")
                    return
            if told.readline():
                yield Finding(path.name, f"it has more lines than the {number} of the rows")
