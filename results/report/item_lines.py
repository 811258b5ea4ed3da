"""The item rows as JSON lines, one line per cell and item, written as they are read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from steereval.results.store import RunFolder

_SHARED = (
    *("cell_id", "model", "method", "strength", "layer", "task"),
    *("fit_seed", "sample_seed", "fewshot_seed"),
)


def write_item_lines(run: RunFolder, path: Path) -> None:
    """Write `path`, holding one cell at a time in memory.

    A line has the cell's identity, the item's id, cluster, split and fold, and "scores":
    {metric: value}; a ratio metric's value is [summed negative log-likelihood, tokens]. What JSON
    cannot hold is a string: "inf" or "-inf".
    """
    with path.open("w", encoding="utf-8") as lines:
        for table in run.iter_items():
            lines.writelines(_lines(table))


def _lines(table: pa.Table) -> Iterator[str]:
    """Put together from pieces, since most of a line is the same for all items of a cell."""
    head = _json({name: table[name][0].as_py() for name in _SHARED})[:-1]
    items = _encoded(table, ("item_id", "cluster_id", "split", "fold"))
    metrics = _encoded(table, ("metric",))
    values, weights = table["value"].to_pylist(), table["weight"].to_pylist()
    scores: dict[str, list[str]] = {}
    for item, metric, value, weight in zip(items, metrics, values, weights, strict=True):
        plain = _number(value) if weight == 1.0 else f"[{_number(value)},{_number(weight)}]"
        scores.setdefault(item, []).append(f"{metric.partition(':')[2]}:{plain}")
    for item, parts in scores.items():
        yield f'{head},{item},"scores":{{{",".join(parts)}}}}}\n'


def _encoded(table: pa.Table, names: tuple[str, ...]) -> list[str]:
    """Each row's columns `names` as JSON, without the braces."""
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    memory: dict[tuple[object, ...], str] = {}
    found = []
    for row in rows:
        text = memory.get(row)
        if text is None:
            text = memory[row] = _json(dict(zip(names, row, strict=True)))[1:-1]
        found.append(text)
    return found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'"{value}"'
