"""Several workers as Ray actors, on this machine or on a cluster that was joined."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from steereval.errors import CellError, SteerEvalError, StoreError
from steereval.ray_jobs.schedule import Queue
from steereval.ray_jobs.work import Listener, Outcome, Work, Worker, WorkerFactory

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Left behind by launchers; a worker that saw them would wait for ranks that do not exist."""


class _Actor:
    """Holds one worker in a process of its own."""

    def __init__(self, factory: WorkerFactory) -> None:
        for name in LAUNCHER_VARIABLES:
            os.environ.pop(name, None)
        self._factory = factory
        self._worker: Worker | None = None

    def run(self, payload: Any) -> tuple[float, Any]:
        """Do one piece; returns the seconds it took, and what the worker returned."""
        start = time.perf_counter()
        # Made here, so that an error in making it is told as what it is, not as a death.
        self._worker = self._worker or self._factory()
        result = self._worker.run(payload)
        return time.perf_counter() - start, result


@dataclass
class RayExecutor:
    """Runs work on actors, each with its share of the machine."""

    workers: int
    """Actors."""
    gpus_each: float = 0.0
    """GPUs of each actor; may be a fraction."""
    retries: int = 2
    """How often work is given to another worker after its own died."""

    def run(self, works: Sequence[Work], factory: WorkerFactory, listen: Listener) -> None:
        """Run `works`. A Ray that was running before is used and left running."""
        started = not ray.is_initialized()
        if started:
            ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            _Run(self, factory, listen, Queue.of(works)).loop(min(self.workers, len(works)))
        finally:
            if started:
                ray.shutdown()


class _Run:
    """The state of one run: which actor does what."""

    def __init__(
        self, executor: RayExecutor, factory: WorkerFactory, listen: Listener, queue: Queue
    ) -> None:
        self._executor = executor
        self._factory = factory
        self._listen = listen
        self._queue = queue
        self._busy: dict[Any, tuple[int, Any, Work]] = {}
        self._deaths: dict[str, int] = {}
        self._named = 0

    def loop(self, workers: int) -> None:
        """Keep `workers` actors busy until no work waits and none is under way."""
        try:
            for _ in range(workers):
                self._start()
            while self._busy:
                (done,), _ = ray.wait(list(self._busy), num_returns=1)
                number, actor, work = self._busy.pop(done)
                if self._settle(done, work):
                    self._give(number, actor)
                else:
                    self._queue.forget(number)
                    self._start()
        finally:
            # Where the run ends early, nobody waits for what is still under way.
            for _, actor, _ in self._busy.values():
                ray.kill(actor)

    def _start(self) -> None:
        """Give the next work to a new actor, if there is any."""
        self._named += 1
        work = self._queue.next_for(self._named)
        if work is not None:
            self._begin(self._named, self._spawn(), work)

    def _give(self, number: int, actor: Any) -> None:
        """Give the next work to an actor that is done; without any, the actor ends."""
        work = self._queue.next_for(number)
        if work is not None:
            self._begin(number, actor, work)

    def _begin(self, number: int, actor: Any, work: Work) -> None:
        self._busy[actor.run.remote(work.payload)] = (number, actor, work)

    def _spawn(self) -> Any:
        threads = max(1, (os.cpu_count() or 1) // self._executor.workers)
        environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        options = {
            "num_cpus": 0,
            "num_gpus": self._executor.gpus_each,
            "runtime_env": {"env_vars": environment},
        }
        return ray.remote(_Actor).options(**options).remote(self._factory)

    def _settle(self, done: Any, work: Work) -> bool:
        """Tell how `work` ended; False if its worker is dead."""
        try:
            seconds, result = ray.get(done)
        except RayTaskError as error:
            self._listen(Outcome(work, _own_error(error), 0.0))
            return True
        except RayError as error:
            self._bury(work, error)
            return False
        self._listen(Outcome(work, None, seconds, result))
        return True

    def _bury(self, work: Work, error: RayError) -> None:
        deaths = self._deaths[work.id] = self._deaths.get(work.id, 0) + 1
        if deaths <= self._executor.retries:
            self._queue.put_back(work)
            return
        why = str(error).splitlines()[0]
        failure = CellError(f"its worker died {deaths} times: {why}", "Look at memory use.")
        self._listen(Outcome(work, failure, 0.0))


def _own_error(error: RayTaskError) -> SteerEvalError:
    """The error that the worker raised; a StoreError ends the run, since nothing can be kept."""
    cause = error.cause
    if isinstance(cause, StoreError):
        raise cause
    if isinstance(cause, SteerEvalError):
        return cause
    return CellError(f"{type(cause).__name__}: {cause}", "This is a fault of the program.")
