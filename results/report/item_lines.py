"""The item rows as JSON lines, one line per cell and item, written as they are read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonlines
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
    with jsonlines.open(path, mode="w", compact=True) as lines:
        for table in run.iter_items():
            lines.write_all(_lines(table))


def _lines(table: pa.Table) -> Iterator[dict[str, Any]]:
    shared = {name: table[name][0].as_py() for name in _SHARED}
    names = ("item_id", "cluster_id", "split", "fold", "metric", "value", "weight")
    columns = [table[name].to_pylist() for name in names]
    items: dict[str, dict[str, Any]] = {}
    for item, cluster, split, fold, metric, value, weight in zip(*columns, strict=True):
        line = items.get(item)
        if line is None:
            line = shared | {"item_id": item, "cluster_id": cluster, "split": split, "fold": fold}
            line["scores"] = {}
            items[item] = line
        plain = _plain(value)
        line["scores"][metric] = plain if weight == 1.0 else [plain, _plain(weight)]
    return iter(items.values())


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
