"""The item rows as JSON lines, one line per cell and item, written as they are read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from steereval.results.store.cell_record import CELL_COLUMNS
from steereval.results.store.run_folder import RunFolder


def write_item_lines(run: RunFolder, path: Path) -> None:
    """Write `path`, holding one cell at a time in memory.

    A line has the cell's identity, the item's id, cluster, split and fold, and "scores":
    {metric: value}; a ratio metric's value is [summed negative log-likelihood, tokens]. What JSON
    cannot hold is a string: "inf" or "-inf".
    """
    items, metrics = _Pieces("item_id", "cluster_id", "split", "fold"), _Pieces("metric")
    with path.open("w", encoding="utf-8") as lines:
        for table in run.iter_items():
            lines.writelines(_lines(table, items.of(table), metrics.of(table)))


def _lines(table: pa.Table, items: list[str], metrics: list[str]) -> Iterator[str]:
    """Put together from pieces, since most of a line is the same for all items of a cell."""
    head = _json({name: table[name][0].as_py() for name in CELL_COLUMNS})[:-1]
    values, weights = table["value"].to_pylist(), table["weight"].to_pylist()
    scores: dict[str, list[str]] = {}
    for item, metric, value, weight in zip(items, metrics, values, weights, strict=True):
        plain = _number(value) if weight == 1.0 else f"[{_number(value)},{_number(weight)}]"
        scores.setdefault(item, []).append(f"{metric.partition(':')[2]}:{plain}")
    for item, parts in scores.items():
        yield f'{head},{item},"scores":{{{",".join(parts)}}}}}\n'


class _Pieces:
    """Some columns of rows as JSON, without the braces; the same values are encoded once."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._known: dict[tuple[object, ...], str] = {}

    def of(self, table: pa.Table) -> list[str]:
        """[rows]."""
        pieces = []
        for row in zip(*(table[name].to_pylist() for name in self._names), strict=True):
            text = self._known.get(row)
            if text is None:
                text = _json(dict(zip(self._names, row, strict=True)))[1:-1]
                self._known[row] = text
            pieces.append(text)
        return pieces


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'"{value}"'
