"""Time and memory of the analysis and of the report, on rows made for it.

    python benchmarks/statistics_speed.py               # all parts
    python benchmarks/statistics_speed.py --rows 200000 # a smaller report

1. The analysis of 100 settings × 800 items × 5 seeds (20 methods on 5 tasks, two of them with
   clusters), reading the 500 files included, by Holm and by max-T.
2. The same with one seed, where every p-value is 10 000 sign flips.
3. The report over a million item rows in a process of its own, with its peak memory.

Prints the time relative to reading the same rows with pandas, and exits 1 where a
goal is missed: 5 s for the analyses, 20 s and 2 GiB for the report, on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa

from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report import build_report
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA

ANALYSIS_SECONDS, REPORT_SECONDS, REPORT_GIB = 5.0, 20.0, 2.0
N_ITEMS, N_TASKS = 800, 5
N_VALIDATION = 100


def main() -> int:
    """Print the figures; the status is 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="item rows of the report")
    parser.add_argument("--report", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.report:
        return report_on(Path(given.report))
    missed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, seeds, correction in (
            ("5 seeds, Holm", 5, "holm"),
            ("5 seeds, max-T", 5, "max-t"),
            ("1 seed, 10 000 sign flips", 1, "holm"),
            ("1 seed, 10 000 shared sign flips, max-T", 1, "max-t"),
        ):
            run = make_run(folder / f"{seeds}{correction}", 20, N_TASKS, seeds, correction)
            seconds, analysis = timed(lambda run=run: analyse(run))
            missed += line(what, analysis, seconds, run)
        missed += million(folder / "million", given.rows)
    print("\n".join(f"MISSED: {what}" for what in missed) or "All goals are met.")
    return 1 if missed else 0


def line(what: str, analysis: Analysis, seconds: float, run: RunFolder) -> list[str]:
    """Print one analysis; what it missed."""
    tested = sum(row.comparison is not None for row in analysis.rows)
    plain, _ = timed(lambda: read_plainly(run))
    print(
        f"analysis, {what}: {tested} comparisons of {N_ITEMS} items in {seconds:.2f} s, "
        f"{seconds / plain:.1f} times the reading of the rows by pandas"
    )
    return [f"{what}: {seconds:.1f} s"] if seconds > ANALYSIS_SECONDS else []


def million(folder: Path, rows: int) -> list[str]:
    """Print time and peak memory of one report; what it missed."""
    n_methods = max(1, rows // (N_ITEMS * N_TASKS * 5))
    run = make_run(folder, n_methods, N_TASKS, 5, "holm")
    command = [sys.executable, __file__, "--report", str(folder)]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(process.stdout.splitlines()[-1])
    plain, frame = timed(lambda: read_plainly(run))
    print(
        f"report: {len(frame)} item rows, {n_methods} methods, in {figures['seconds']:.1f} s "
        f"({figures['seconds'] / plain:.1f} times reading them by pandas), peak memory "
        f"{figures['gib']:.2f} GiB"
    )
    slow = [f"report: {figures['seconds']:.1f} s"] if figures["seconds"] > REPORT_SECONDS else []
    large = [f"report: {figures['gib']:.1f} GiB"] if figures["gib"] > REPORT_GIB else []
    return slow + large


def report_on(folder: Path) -> int:
    """Build a report and print its seconds, start-up of Python left out, and this peak memory."""
    seconds, _ = timed(lambda: build_report(RunFolder(folder)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gib": peak}))
    return 0


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, result) of `work`."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def read_plainly(run: RunFolder) -> pd.DataFrame:
    """All item rows, as anyone would read them."""
    return pd.concat([pd.read_parquet(path) for path in (run.path / "cells").glob("*.parquet")])


def make_run(path: Path, n_methods: int, n_tasks: int, seeds: int, correction: str) -> RunFolder:
    """A run of `n_methods` methods with small effects, each at one strength, and a baseline."""
    folder = RunFolder(path)
    folder.create()
    cells = list(cells_of(n_methods, n_tasks, seeds))
    folder.write_manifest(manifest_of(cells, n_methods, n_tasks, correction))
    with mock.patch("os.fsync"):  # rows of a benchmark need not survive a crash of the machine
        for cell in cells:
            items = item_table(cell)
            record = cell | {"timings": {"seconds": 1.0, "tokens_per_second": 100.0}}
            folder.write_cell(cell["cell_id"], items, RESPONSE_SCHEMA.empty_table(), record)
    return folder


def cells_of(n_methods: int, n_tasks: int, seeds: int) -> Iterator[dict[str, Any]]:
    """The planned cells."""
    arms: list[tuple[str, float, int | None]] = [("none", 0.0, None)]
    arms += [(f"m{i}", 1.0, seed) for i in range(n_methods) for seed in range(seeds)]
    for task in range(n_tasks):
        for method, strength, seed in arms:
            cell = {
                "model": "m", "method": method, "strength": strength,
                "layer": "" if method == "none" else "14", "task": f"task{task}",
                "fit_seed": seed, "sample_seed": 0, "fewshot_seed": 0,
            }  # fmt: skip
            name = hashlib.sha256(repr(cell).encode()).hexdigest()[:16]
            yield {"cell_id": name} | cell


def item_table(cell: dict[str, Any]) -> pa.Table:
    """Bounded scores of one cell."""
    task = int(cell["task"].removeprefix("task"))
    rng = np.random.default_rng(np.random.SeedSequence(list(cell["cell_id"].encode())))
    latent = np.random.default_rng(task).normal(0.5, 0.2, N_ITEMS)
    shift = 0.0 if cell["method"] == "none" else 0.002 * int(cell["method"][1:]) % 0.05
    value = np.clip(latent + shift + rng.normal(0, 0.01) + rng.normal(0, 0.2, N_ITEMS), 0, 1)
    n = N_ITEMS
    clusters = [f"c{i % 40}" for i in range(n)] if task < 2 else [None] * n
    columns = {name: [known] * n for name, known in cell.items()} | {
        "metric": ["score"] * n,
        "higher_is_better": [True] * n,
        "item_id": [f"{task}-{i:05d}" for i in range(n)],
        "cluster_id": clusters,
        "split": ["validation" if i < N_VALIDATION else "test" for i in range(n)],
        "fold": [None] * n,
        "value": value,
        "weight": np.ones(n),
    }
    return pa.table({name: columns[name] for name in ITEM_SCHEMA.names}, schema=ITEM_SCHEMA)


def manifest_of(
    cells: list[dict[str, Any]], n_methods: int, n_tasks: int, correction: str
) -> dict[str, Any]:
    """The parts of a manifest that an analysis reads."""
    metric = {"score": {"kind": "bounded", "higher_is_better": True}}
    task = {
        "role": "target", "margin": None, "primary_metric": "score", "cluster": None,
        "metrics": metric,
    }  # fmt: skip
    method = {"options": {}, "unit": "absolute"}
    return {
        "name": "speed", "grid": {}, "cells": cells,
        "tasks": {f"task{i}": task for i in range(n_tasks)},
        "methods": dict.fromkeys(["none", *(f"m{i}" for i in range(n_methods))], method),
        "select": None,
        "analysis": {"baseline": "none", "confidence": 0.95, "correction": correction},
        "contrasts": {}, "versions": {}, "machine": {"cores": os.cpu_count()},
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
