"""One worker in this process: for one device, for tests and for debugging."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from steereval.common.activity import begin_work, current, every
from steereval.common.errors import CellError, SteerEvalError, StoreError
from steereval.ray_jobs.events import (
    Close,
    Event,
    Finished,
    Give,
    GiveUp,
    Instruction,
    NodeJoined,
    Open,
)
from steereval.ray_jobs.schedule import Schedule
from steereval.ray_jobs.work import Listener, Outcome, Work, Worker, WorkerFactory, ended

POLL_S = 1.0
"""Seconds between two reports of the work at hand."""


class SerialExecutor:
    """Runs one piece after the other."""

    def __init__(self, cores: float | None = 1.0) -> None:
        """With so many cores; None: on a GPU."""
        self._cores = cores

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left running."""

    def begin(self) -> None:
        """Nothing takes long to start."""

    def cores(self) -> float | None:
        """Cores of this process; None where it computes on a GPU."""
        return self._cores

    def run(self, works: Sequence[Work], factory: WorkerFactory, listener: Listener) -> None:
        """Run `works` in their order. A StoreError ends the run: nothing can be kept."""
        # A schedule puts the most expensive work first and work of one affinity together, which one
        # worker gains nothing from: the order of `works` counts.
        alike = [replace(work, size=1.0, cost=1.0, affinity="", load=0.0) for work in works]
        schedule = Schedule(alike)
        process = _Here(factory, listener)
        events: list[Event] = [NodeJoined("here", 1.0)]
        while events:
            instructions = schedule.handle(events, time.monotonic())
            events = [event for each in instructions if (event := process.do(each)) is not None]


@dataclass
class _Here:
    """The worker of this process."""

    factory: WorkerFactory
    listener: Listener
    worker: Worker | None = field(default=None)

    def do(self, instruction: Instruction) -> Event | None:
        """Follow one instruction; what came of it."""
        match instruction:
            case Give(number, work, last):
                return Finished(number, self._work(work, last))
            case Close():
                self.worker = None
            case GiveUp(work, reason):
                self.listener.ended(Outcome(work.units, CellError(reason), 0.0))
            case Open():
                pass
        return None

    def _work(self, work: Work, last: bool) -> tuple[int, ...]:
        """Do one piece; the indices of the units that should be tried again."""
        self.listener.began(work.units, "this process")
        start = time.perf_counter()
        try:
            self.worker = self.worker or self.factory()
            begin_work()
            with every(POLL_S, lambda: self.listener.advanced(work.units, current())):
                done = self.worker.run(work.units, last)
        except StoreError:
            raise
        except SteerEvalError as failure:
            self.listener.ended(Outcome(work.units, failure, time.perf_counter() - start))
            return ()
        self.listener.ended(ended(work, done, time.perf_counter() - start))
        return done.again
