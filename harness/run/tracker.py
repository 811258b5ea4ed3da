"""Progress of a run's cells: counted, shown, and stored for those who watch from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from steereval.common.errors import StoreError
from steereval.harness.planning.cell import Cell
from steereval.harness.run.attempt import GroupResult, described
from steereval.harness.run.progress import Display
from steereval.ray_jobs.work import Outcome
from steereval.results.store.cell_record import CellFacts, CellFailure
from steereval.results.store.lease import check_driver
from steereval.results.store.progress import Progress, write_progress
from steereval.results.store.run_folder import RunFolder

KEPT = 2.0
"""Least seconds between two writes of the progress file."""


@dataclass
class Tracker:
    """Hears of every group of cells that begins or ends."""

    store: RunFolder
    """The run folder."""
    planned: int
    """Cells of the grid."""
    before: frozenset[str]
    """Ids of the cells that were finished before this start; they may be answered again with the
    rest of their group, and are not counted twice."""
    weights: Mapping[str, float]
    """Expected cost of the cells of this start, by id, for the time left."""
    shown: Display
    """Where progress is shown."""
    lease_id: str
    """The driver that this is: only while it is one does it record what workers could not."""
    failures: dict[str, str] = field(default_factory=dict)
    """Name and error of the cells that failed, by id: cells of two sample seeds share a name."""
    _over: set[str] = field(default_factory=set)
    _running: dict[str, str] = field(default_factory=dict)
    _tokens: int = 0
    _start: float = field(default_factory=time.monotonic)
    _written: float = float("-inf")

    def began(self, units: tuple[Any, ...], worker: str) -> None:
        """These cells are being answered."""
        self._running |= {cell.id: f"{cell} ({worker})" for cell in units}
        self._tell(None)

    def ended(self, outcome: Outcome) -> None:
        """These cells are over."""
        cells: tuple[Cell, ...] = outcome.units
        if outcome.error is not None:
            errors: Mapping[str, str] = self._record(cells, str(outcome.error))
        else:
            result: GroupResult = outcome.result
            errors = result.errors
            self._tokens += result.tokens
        for cell in cells:
            self._running.pop(cell.id, None)
            error = errors.get(cell.id)
            if error is not None:
                self.failures[cell.id] = f"{cell}: {error}"
            if cell.id not in self.before:
                self._over.add(cell.id)
                took = f"{outcome.seconds / len(cells):.1f} s"
                self._tell(f"{cell}: {took if error is None else failed_state(error)}")

    def stop(self, state: str) -> None:
        """The run is over: `ended` or `stopped`. A folder that is full keeps the last word."""
        self._running.clear()
        with suppress(StoreError):
            write_progress(self.store.place, self.now(state))
        self.shown.show(self.now(state))

    def now(self, state: str = "running") -> Progress:
        """The run at this moment."""
        elapsed = time.monotonic() - self._start
        done = sum(self.weights.get(id, 0.0) for id in self._over)
        left = sum(self.weights.values()) - done
        over = self.before | self._over
        return Progress(
            state=state,
            planned=self.planned,
            reused=len(self.before),
            done=len(over - self.failures.keys()),
            failed=len(self.failures),
            running=tuple(self._running.values()),
            waiting=max(self.planned - len(over | self._running.keys()), 0),
            tokens=self._tokens,
            elapsed=elapsed,
            remaining=elapsed * left / done if done else None,
            updated=time.time(),
            errors=tuple(self.failures.values()),
            driver=self.lease_id,
        )

    def _tell(self, ended: str | None) -> None:
        now = self.now()
        self.shown.show(now, ended)
        if time.monotonic() - self._written > KEPT:
            self._written = time.monotonic()
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
