"""Overhead of Ray for each cell, and the gain of a second worker.

    python benchmarks/ray_scaling.py
    python benchmarks/ray_scaling.py --rows overhead --cells 1000
    python benchmarks/ray_scaling.py --rows workers --limit 60

The first row runs cells that are empty, or nearly, so that what is left is scheduling, actors,
progress and storage. The second runs one grid on the bundled model by one worker with one thread
and by two workers with one thread each, one after the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from steereval.common.activity import Activity
from steereval.harness.assets import fetch
from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.attempt import GroupResult
from steereval.harness.run.progress import display
from steereval.harness.run.tracker import Tracker
from steereval.ray_jobs.ray_executor import RayExecutor
from steereval.ray_jobs.work import Done, Outcome, Work
from steereval.results.store.cell_record import CellFacts
from steereval.results.store.lease import driving
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA

GRID = Path(__file__).parents[1] / "examples" / "quickstart.yaml"
MOST = 0.050
"""Seconds that a cell may cost beyond its own work."""
LEAST = 1.7
"""How many times faster two workers are to be than one."""


def main() -> int:
    """Print the rows asked for; 1 if one misses what is wanted of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="+", choices=["overhead", "workers"])
    parser.add_argument("--cells", type=int, default=1000, help="empty cells (1000)")
    parser.add_argument("--grid", type=Path, default=GRID, help="grid of the second row")
    parser.add_argument("--limit", type=int, help="items of each task in it (the grid's own)")
    given = parser.parse_args()
    rows = given.rows or ["overhead", "workers"]
    wrong = "overhead" in rows and not overhead(given.cells)
    wrong |= "workers" in rows and not workers(given.grid, given.limit)
    return int(wrong)


# Overhead


def overhead(count: int) -> bool:
    """Seconds a cell of `count` that do nothing, each a work of its own on two workers."""
    cells = make_plan(parse_grid(_many(count)))[1:]
    good = True
    for name, worker in (("nothing", Empty), ("one row, stored", None)):
        once, taken = _seconds(cells, worker)
        print(
            f"{count} cells of {name}: {1000 * taken / count:.2f} ms each, and {once:.1f} s once "
            "until Ray and the first worker run"
        )
        good &= taken / count <= MOST
    return good


def _many(count: int) -> dict[str, Any]:
    return {
        "name": "empty",
        "models": [{"name": "smollm2-135m", "layers": [14]}],
        "contrast": "truthful-mini",
        "methods": ["none", {"name": "caa", "strengths": [1 + n / 100 for n in range(count)]}],
        "tasks": ["truthful_mini_mc"],
    }


def _seconds(cells: Sequence[Cell], worker: Callable[[], Any] | None) -> tuple[float, float]:
    """Time until the first of `cells` begins, and from then to the end of the last, through
    executor, tracker and run folder."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        screen = stack.enter_context(display("lines"))
        store = RunFolder(name)
        store.create()
        lease = stack.enter_context(driving(store.place))
        weights = {cell.id: 1.0 for cell in cells}
        tracker = Tracker(store, len(cells), frozenset(), weights, _Mute(screen), lease.id)
        works = [Work(cell.id, (cell,), 1.0, "model", load=1.0) for cell in cells]
        start = time.perf_counter()
        heard = _Timed(tracker)
        with RayExecutor(2) as executor:
            executor.run(works, worker or partial(Storing, name), heard)
        tracker.stop("ended")
        if tracker.failures or tracker.now().done != len(cells):
            raise SystemExit(f"cells failed: {list(tracker.failures.values())[:1]}")
        if worker is None and len(store.finished()) != len(cells):
            raise SystemExit("rows are missing")
    return heard.first - start, heard.last - heard.first


@dataclass
class _Timed:
    """Forwards events to a tracker, and notes their times."""

    tracker: Tracker
    first: float = 0.0
    last: float = 0.0

    def began(self, units: tuple[Cell, ...], worker: str) -> None:
        self.first = self.first or time.perf_counter()
        self.tracker.began(units, worker)

    def advanced(self, units: tuple[Cell, ...], activity: Activity) -> None:
        self.tracker.advanced(units, activity)

    def ended(self, outcome: Outcome) -> None:
        self.tracker.ended(outcome)
        self.last = time.perf_counter()


@dataclass
class _Mute:
    """Shows nothing: a terminal's speed is not the executor's."""

    screen: Any

    def show(self, *_: Any) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Empty:
    """Does nothing."""

    def run(self, units: tuple[Cell, ...], last: bool) -> Done:  # noqa: ARG002
        return Done(GroupResult({}, 0))


@dataclass
class Storing:
    """Stores one row for each cell, as a run would."""

    folder: str

    def run(self, units: tuple[Cell, ...], last: bool) -> Done:  # noqa: ARG002
        for cell in units:
            items = pa.Table.from_pylist([_row(cell)], schema=ITEM_SCHEMA)
            record = CellFacts(name=str(cell), identity=cell.identity)
            RunFolder(self.folder).write_cell(cell.id, items, RESPONSE_SCHEMA.empty_table(), record)
        return Done(GroupResult({}, 1))


def _row(cell: Cell) -> dict[str, Any]:
    return {
        "cell_id": cell.id, "model": cell.model.name, "method": cell.label,
        "strength": cell.strength, "layer": cell.layer, "task": cell.task.name, "metric": "mc1",
        "higher_is_better": True, "item_id": "0", "split": "test", "sample_seed": 0,
        "fewshot_seed": 0, "value": 1.0, "weight": 1.0,
    }  # fmt: skip


# Workers


def workers(grid: Path, limit: int | None) -> bool:
    """Time of a whole command with one worker on one thread, over that with two workers."""
    fetch("smollm2-135m", print)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Once before, so that neither side reads contrast sets that the other finds read.
        _run(grid, 1, folder / "before", 2)
        one = _run(grid, limit, folder / "one", 1)
        two = _run(grid, limit, folder / "two", 2)
        same = RunFolder(folder / "one").finished() == RunFolder(folder / "two").finished()
    cores = os.cpu_count()
    print(
        f"{grid.name}, {cores} cores: one worker with one thread {one:.0f} s"
        f", two workers {two:.0f} s, {one / two:.2f} times faster, start-up and loading included"
    )
    return same and one / two >= LEAST


def _run(grid: Path, limit: int | None, out: Path, count: int) -> float:
    command = [sys.executable, "-m", "steereval", "run", str(grid), "--out", str(out)]
    command += ["--workers", str(count), "--no-report"]
    command += [] if limit is None else ["--limit", str(limit)]
    # Under Ray each worker has its share of the cores: one.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
