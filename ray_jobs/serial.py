"""One worker in this process: for one device, for tests and for debugging."""

from __future__ import annotations

import time
from collections.abc import Sequence

from steereval.errors import SteerEvalError, StoreError
from steereval.ray_jobs.schedule import Queue
from steereval.ray_jobs.work import Listener, Outcome, Work, Worker, WorkerFactory


class SerialExecutor:
    """Runs one piece after the other."""

    def run(self, works: Sequence[Work], factory: WorkerFactory, listen: Listener) -> None:
        """Run `works` in scheduling order. A StoreError ends the run: nothing can be kept."""
        queue = Queue.of(works)
        worker: Worker | None = None
        while (work := queue.next_for(0)) is not None:
            start = time.perf_counter()
            error: SteerEvalError | None = None
            result = None
            try:
                worker = worker or factory()
                result = worker.run(work.payload)
            except StoreError:
                raise
            except SteerEvalError as failure:
                error = failure
            listen(Outcome(work, error, time.perf_counter() - start, result))
