"""Progress of a run's cells: counted, shown, and stored for those who watch from elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from steereval.common.activity import LOADING, STARTING, Activity
from steereval.common.errors import StoreError
from steereval.harness.planning.cell import Cell
from steereval.harness.run.attempt import GroupResult, described
from steereval.harness.run.progress import Display
from steereval.ray_jobs.work import Outcome
from steereval.results.store.cell_record import CellFacts, CellFailure
from steereval.results.store.lease import check_driver
from steereval.results.store.progress import WRITTEN_S, Progress, write_progress
from steereval.results.store.run_folder import RunFolder

MOST_INSIDE = 0.98
"""Share of a running group's cost that may count as done."""
PRIOR_S = 20.0
"""Seconds of one worker for which the expected speed counts against the measured one."""


@dataclass
class Tracker:
    """Hears of every group of cells that begins, advances or ends; from any thread."""

    store: RunFolder
    """The run folder."""
    planned: int
    """Cells of the grid."""
    before: frozenset[str]
    """Ids of the cells that were finished before this start; they may be answered again with the
    rest of their group, and are not counted twice."""
    weights: Mapping[str, float]
    """Expected cost of the cells of this start in 10^12 operations, by id, for the time left."""
    shown: Display
    """Where progress is shown."""
    lease_id: str
    """The driver that this is: only while it is one does it record what workers could not."""
    speed: float | None = None
    """Expected speed of one worker in 10^12 operations a second; None where unknown."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that pass."""
    failures: dict[str, str] = field(default_factory=dict)
    """Name and error of the cells that failed, by id: cells of two sample seeds share a name."""
    _over: set[str] = field(default_factory=set)
    _running: dict[str, str] = field(default_factory=dict)
    _inside: dict[tuple[str, ...], Activity] = field(default_factory=dict)
    """Activities of the workers of running groups, by the ids of the cells."""
    _seen: dict[tuple[str, ...], float] = field(default_factory=dict)
    """When that was last heard."""
    _working: float = 0.0
    """Seconds in which workers computed, summed over workers; loading left out."""
    _tokens: int = 0
    _start: float = field(init=False)
    _written: float = float("-inf")
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        """The run starts now."""
        self._start = self.clock()

    def began(self, units: tuple[Any, ...], worker: str) -> None:
        """These cells are being answered."""
        with self._lock:
            self._running |= {cell.id: f"{cell} ({worker})" for cell in units}
            self._inside[_ids(units)], self._seen[_ids(units)] = Activity(), self.clock()
            self._tell(None)

    def advanced(self, units: tuple[Any, ...], activity: Activity) -> None:
        """The worker of these cells is this far."""
        with self._lock:
            # A worker that starts has not begun its cells.
            if _ids(units) in self._inside:
                self._hear(_ids(units), activity)
            self._tell(None)

    def _hear(self, ids: tuple[str, ...], activity: Activity) -> None:
        now = self.clock()
        if activity.phase not in ("", STARTING, LOADING):
            self._working += now - self._seen[ids]
        self._inside[ids], self._seen[ids] = activity, now

    def ended(self, outcome: Outcome) -> None:
        """These cells are over."""
        with self._lock:
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        cells: tuple[Cell, ...] = outcome.units
        for ids in [ids for ids in self._inside if set(ids) & {cell.id for cell in cells}]:
            self._hear(ids, self._inside[ids])
            del self._inside[ids], self._seen[ids]
        if outcome.error is not None:
            errors: Mapping[str, str] = self._record(cells, str(outcome.error))
        else:
            result: GroupResult = outcome.result
            errors = result.errors
            self._tokens += result.tokens
        for cell in cells:
            self._running.pop(cell.id, None)
            if cell.id in errors:
                self.failures[cell.id] = f"{cell}: {errors[cell.id]}"
        fresh = [cell for cell in cells if cell.id not in self.before]
        # All of them, so that the first line knows what is left.
        self._over |= {cell.id for cell in fresh}
        for cell in fresh:
            took = f"{outcome.seconds / len(cells):.1f} s"
            state = failed_state(errors[cell.id]) if cell.id in errors else took
            self._tell(f"{cell}: {state}")

    def stop(self, state: str) -> None:
        """The run is over: `ended` or `stopped`. A folder that is full keeps the last word."""
        with self._lock:
            self._running.clear()
            self._inside.clear()
            with suppress(StoreError):
                write_progress(self.store.place, self.now(state))
            self.shown.show(self.now(state))

    def now(self, state: str = "running") -> Progress:
        """The run at this moment."""
        over = self.before | self._over
        total, done = sum(self.weights.values()), self._operations()
        return Progress(
            state=state,
            planned=self.planned,
            reused=len(self.before),
            done=len(over - self.failures.keys()),
            failed=len(self.failures),
            running=tuple(self._running.values()),
            waiting=max(self.planned - len(over | self._running.keys()), 0),
            tokens=self._tokens + sum(each.tokens for each in self._inside.values()),
            requests=(
                sum(each.requests for each in self._inside.values()),
                sum(each.expected for each in self._inside.values()),
            ),
            elapsed=self.clock() - self._start,
            remaining=self._remaining(done, total - done),
            updated=time.time(),
            errors=tuple(self.failures.values()),
            driver=self.lease_id,
            share=done / total if total else 1.0,
            phases=tuple(dict.fromkeys(a.phase for a in self._inside.values() if a.phase)),
        )

    def _operations(self) -> float:
        """Operations done, in 10^12 as planned; running groups are never complete."""
        done = sum(self.weights.get(id, 0.0) for id in self._over)
        for ids, activity in self._inside.items():
            planned = sum(self.weights.get(id, 0.0) for id in ids)
            done += min(activity.operations / 1e12, MOST_INSIDE * planned)
        return done

    def _remaining(self, done: float, left: float) -> float | None:
        """Seconds for `left` operations, at the speed so far and the expected one."""
        prior = PRIOR_S if self.speed else 0.0
        seconds = self._working + prior
        operations = done + prior * (self.speed or 0.0)
        if not operations or not seconds:
            return 0.0 if not left else None
        return left * seconds / operations / max(len(self._inside), 1)

    def _tell(self, ended: str | None) -> None:
        now = self.now()
        self.shown.show(now, ended)
        if self.clock() - self._written > WRITTEN_S:
            self._written = self.clock()
            # Whoever watches may miss a moment; the run itself must not end for it.
            with suppress(StoreError):
                write_progress(self.store.place, now)

    def _record(self, cells: tuple[Cell, ...], error: str) -> dict[str, str]:
        """Record failures that the worker could not record itself, because it died."""
        check_driver(self.store.place, self.lease_id)
        finished = self.store.finished()
        lost = [cell for cell in cells if cell.id not in finished]
        for cell in lost:
            failure = CellFailure(type="death", message=error)
            self.store.write_failure(cell.id, CellFacts(**described(cell), error=failure))
        return {cell.id: error for cell in lost}


def failed_state(error: str) -> str:
    """The end of a line about a cell that failed."""
    return f"FAILED: {error.rstrip('.')}"


def _ids(units: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(cell.id for cell in units)
