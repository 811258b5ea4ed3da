"""A grid of several groups over a tiny model, and what it means that two runs are equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from steereval.results.store.run_folder import RunFolder


def small_grid(model: str, **changes: Any) -> dict[str, Any]:
    """Four groups, 42 cells."""
    return {
        "name": "small",
        "models": [{"name": model, "layers": [0, 1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
        "methods": [
            "none",
            {"name": "caa", "strengths": [1, 2, 4]},
            {"name": "odesteer", "strengths": [1, 2]},
        ],
        "tasks": [
            {"name": "truthful_mini_mc", "limit": 5},
            # Two prompts under two strengths: products of five to seven rows differ in the last
            # bit between numbers of threads, which a greedy choice of a random model can show.
            {"name": "truthful_mini_gen", "limit": 2, "generation": {"max_gen_toks": 6}},
        ],
        "seeds": {"fit": [0, 1]},
        **changes,
    }


def ordered(table: pa.Table, *keys: str) -> bytes:
    """The rows in the order of `keys`, as bytes."""
    sink = pa.BufferOutputStream()
    rows = table.sort_by([(key, "ascending") for key in keys]).combine_chunks()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


def same_tables(one: Path, other: Path) -> None:
    """Both runs have finished the same cells, and their tables are equal byte for byte."""
    first, second = RunFolder(one), RunFolder(other)
    planned = {cell.cell_id for cell in first.read_manifest().cells}
    assert first.finished() == second.finished() == planned
    keys = ("cell_id", "metric", "item_id")
    assert ordered(first.read_items(), *keys) == ordered(second.read_items(), *keys)
    keys = ("cell_id", "item_id", "request")
    assert ordered(first.read_responses(), *keys) == ordered(second.read_responses(), *keys)
