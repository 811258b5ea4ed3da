"""Several workers as Ray actors, on this machine or on a cluster that was joined."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from steereval.common.activity import STARTING, Activity
from steereval.common.errors import CellError, SteerEvalError, StoreError
from steereval.common.text import first_line
from steereval.ray_jobs.actor import ActorHandle, spawn
from steereval.ray_jobs.events import (
    Close,
    Died,
    Event,
    Finished,
    Give,
    GiveUp,
    Instruction,
    NodeJoined,
    NodeLost,
    Open,
    Tick,
)
from steereval.ray_jobs.exchange import Exchange
from steereval.ray_jobs.membership import LOCAL, Membership, Node, nodes
from steereval.ray_jobs.metrics import Metrics
from steereval.ray_jobs.rules import Rules
from steereval.ray_jobs.schedule import Schedule
from steereval.ray_jobs.work import Listener, Outcome, Work, WorkerFactory, ended

POLL = 1.0
"""Seconds between two looks at the nodes and at what is late."""


@dataclass
class RayExecutor:
    """Runs work on actors, each with its share of a node."""

    workers: int | None = None
    """Workers in all; None: one on each GPU, or one on each node where there are none."""
    address: str = LOCAL
    """Where Ray is; `local` starts one."""
    on_gpus: bool | None = False
    """Whether workers take GPUs; None: if the cluster has any."""
    package: Path | None = None
    """Folder of the import package, for a cluster whose machines may not have it."""
    rules: Rules = field(default_factory=Rules)
    """Rules for retries and for late work."""

    _membership: Membership | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End a Ray that was started for this; leave one that was joined."""
        if self._membership is not None:
            self._membership.end()
            self._membership = None

    def begin(self) -> Membership:
        """Start Ray, or join it, in the background."""
        self._membership = self._membership or Membership(self.address, self.package)
        return self._membership

    def cores(self) -> float | None:
        """Cores of the smallest worker on the present nodes; None where workers have GPUs."""
        self.begin().wait()
        if self._uses_gpus():
            return None
        cpus = [node.cpus for node in nodes().values() if node.cpus]
        on_each = -(-(self.workers or 1) // len(cpus)) if cpus else 1
        return max(1.0, min(cpus, default=1.0) // on_each)

    def _uses_gpus(self) -> bool:
        if self.on_gpus is None:
            return any(node.gpus for node in nodes().values())
        return self.on_gpus

    def run(self, works: Sequence[Work], factory: WorkerFactory, listener: Listener) -> None:
        """Run `works`. A StoreError ends the run: nothing can be kept."""
        self.begin().wait()
        on_gpus = self._uses_gpus()
        if not on_gpus:
            works = [replace(work, size=1.0) for work in works]
        schedule = Schedule(works, self.rules)
        exchange = Exchange.opened()
        try:
            _Run(self.workers, on_gpus, ray.put(factory), listener, schedule, exchange).loop()
        finally:
            exchange.close()


@dataclass
class _Run:
    """The state of one run: the actors, what each does, and the known nodes."""

    workers: int | None
    on_gpus: bool
    factory: Any
    listener: Listener
    schedule: Schedule
    exchange: Exchange
    actors: dict[int, ActorHandle] = field(default_factory=dict)
    busy: dict[Any, tuple[int, Work, bool]] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    cores: dict[str, float] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    watched: dict[Any, tuple[Any, Work]] = field(default_factory=dict)
    """Questions for the activity of busy workers, with the run that each asks about."""

    def loop(self) -> None:
        """Until nothing waits and nothing is under way."""
        try:
            self._tell(list(self._nodes()))
            looked = time.monotonic()
            while not self.schedule.over:
                events = self._ended()
                if time.monotonic() - looked > POLL:
                    self._watch()
                    events += [*self._nodes(), Tick()]
                    looked = time.monotonic()
                if events:
                    self._tell(events)
        finally:
            # Where the run ends early, nobody waits for what is still under way.
            for handle in self.actors.values():
                handle.end()
            self.metrics.running(0)

    def _tell(self, events: Sequence[Event]) -> None:
        for each in self.schedule.handle(events, time.monotonic()):
            self._do(each)
        self.metrics.running(self.schedule.running)

    def _do(self, instruction: Instruction) -> None:
        match instruction:
            case Open(worker, node, size):
                gpus = size if self.on_gpus else 0.0
                self.actors[worker] = spawn(
                    self.factory, node, gpus, self._threads(node, size), self.exchange.of(worker)
                )
            case Give(worker, work, last):
                self._give(worker, work, last)
            case Close(worker):
                self.actors.pop(worker).end()
                self.exchange.of(worker).give_up()
                self.busy = {ref: held for ref, held in self.busy.items() if held[0] != worker}
            case GiveUp(work, reason):
                error = CellError(reason, "Look at the node's memory and at Ray's logs.")
                self._over(Outcome(work.units, error, 0.0))

    def _give(self, worker: int, work: Work, last: bool) -> None:
        """Let an actor work, or wait until its process runs: who dies before has done nothing."""
        handle = self.actors[worker]
        if not handle.up:
            self.busy[handle.ready] = worker, work, last
            return
        self.busy[handle.actor.run.remote(work.units, last)] = worker, work, last
        self.listener.began(work.units, handle.name)

    def _threads(self, node: str, size: float) -> int:
        share = size / self.known[node] if node in self.known else 1.0
        return max(1, int(self.cores.get(node, 1.0) * share + 1e-9))

    def _ended(self) -> list[Event]:
        """Reports of workers; waits for the first, but not for long."""
        if not self.busy:
            time.sleep(POLL / 10)
            return []
        done, _ = ray.wait(list(self.busy), num_returns=1, timeout=POLL / 2)
        more, _ = ray.wait(list(self.busy), num_returns=len(self.busy), timeout=0)
        events = [self._settle(ref) for ref in dict.fromkeys([*done, *more])]
        return [event for event in events if event is not None]

    def _watch(self) -> None:
        """Report the activities that have arrived, and ask busy workers again."""
        arrived, _ = (
            ray.wait(list(self.watched), num_returns=len(self.watched), timeout=0)
            if (self.watched)
            else ([], [])
        )
        for question in arrived:
            run, work = self.watched.pop(question)
            with suppress(RayError):
                activity = ray.get(question)
                if run in self.busy:
                    self.listener.advanced(work.units, activity)
        watched = {run for run, _ in self.watched.values()}
        for run, (worker, work, _) in self.busy.items():
            handle = self.actors[worker]
            if not handle.up:
                self.listener.advanced(work.units, Activity(STARTING))
            elif run not in watched:
                self.watched[handle.actor.activity.remote()] = run, work

    def _settle(self, ref: Any) -> Event | None:
        worker, work, last = self.busy.pop(ref)
        handle = self.actors[worker]
        try:
            answer = ray.get(ref)
        except RayTaskError as error:
            self._over(Outcome(work.units, _own_error(error), 0.0))
            return Finished(worker)
        except RayError as error:
            return Died(worker, first_line(error), handle.up)
        if ref == handle.ready:
            handle.up = True
            self._give(worker, work, last)
            return None
        seconds, done = answer
        self._over(ended(work, done, seconds))
        return Finished(worker, done.again)

    def _over(self, outcome: Outcome) -> None:
        self.metrics.ended(outcome)
        self.listener.ended(outcome)

    def _nodes(self) -> Iterator[Event]:
        """Changes of the nodes."""
        alive = nodes()
        for name in [name for name in self.known if name not in alive]:
            del self.known[name]
            yield NodeLost(name)
        # A head without CPUs and GPUs is there to direct, as is the custom on Kubernetes.
        fresh = [
            node
            for name, node in alive.items()
            if name not in self.known and (node.cpus or node.gpus)
        ]
        left = self._left(len(fresh))
        for node in fresh:
            capacity = min(self._capacity(node), next(left))
            if capacity > 0:
                self.known[node.id], self.cores[node.id] = capacity, node.cpus
                yield NodeJoined(node.id, capacity)

    def _capacity(self, node: Node) -> float:
        if self.on_gpus:
            return node.gpus
        return float("inf") if self.workers else 1.0

    def _left(self, count: int) -> Iterator[float]:
        """For each of `count` new nodes, the number of requested workers that it may hold."""
        if self.workers is None:
            yield from [float("inf")] * count
            return
        left = self.workers - sum(self.known.values())
        for index in range(count):
            yield left * (index + 1) // count - left * index // count


def _own_error(error: RayTaskError) -> SteerEvalError:
    """The error that the worker raised; a StoreError ends the run, since nothing can be kept."""
    cause = error.cause
    if isinstance(cause, StoreError):
        raise cause
    if isinstance(cause, SteerEvalError):
        return cause
    return CellError(f"{type(cause).__name__}: {cause}", "This is a fault of the program.")
