"""A schedule played through without doing the work: for tests, and to know a grid's time."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from steereval.ray_jobs.bin_packing import least_loads, lower_bound
from steereval.ray_jobs.events import (
    Close,
    Died,
    Event,
    Finished,
    Give,
    GiveUp,
    Instruction,
    NodeJoined,
    Open,
    Tick,
)
from steereval.ray_jobs.rules import Rules
from steereval.ray_jobs.schedule import Schedule
from steereval.ray_jobs.work import Work

TICK = 60.0
"""Seconds between two looks at what is late."""


@dataclass(frozen=True)
class Simulated:
    """How a simulated run went; times in units of cost."""

    makespan: float
    """From the first start to the last end."""
    bound: float
    """No schedule that keeps works whole ends earlier, even if it knew the true costs and met no
    failure."""
    loads: int
    """How often a worker loaded."""
    least_loads: int
    """No schedule that ends by `makespan`, and loses as many workers, loads less often."""
    busy: float
    """Share of the whole capacity that was at work until the end."""
    deaths: int
    """Workers that died."""
    cut: int
    """Works that were cut into parts."""
    failed: int
    """Units that were given up."""
    seconds: float
    """Real time that the schedule itself took."""


@dataclass
class Chance:
    """Random failures and errors of costs, decided by names alone, in any order."""

    failing: float = 0.0
    """Share of tries whose worker dies, at any moment of the work."""
    error: float = 0.0
    """Standard deviation of the logarithm of true over expected cost."""
    seed: int = 0
    """Another one is another world."""
    _tries: dict[str, int] = field(default_factory=dict)

    def of(self, work: Work) -> tuple[float, float | None]:
        """The true cost of `work`, and after what share of it its worker dies; None: it lives."""
        attempt = self._tries[work.id] = self._tries.get(work.id, 0) + 1
        fate = random.Random(f"{self.seed} {work.id} {attempt}")
        dies = fate.random() < self.failing
        return self.true(work).cost, fate.random() if dies else None

    def true(self, work: Work) -> Work:
        """`work` with its true cost."""
        whole = work.id.split(".")[0]
        factor = random.Random(f"{self.seed} {whole}").lognormvariate(0.0, self.error)
        return replace(work, cost=work.cost * factor)


def simulate(
    works: Sequence[Work],
    nodes: Sequence[float],
    chance: Chance | None = None,
    rules: Rules | None = None,
) -> Simulated:
    """Play `works` through on nodes of these capacities."""
    return _World(works, nodes, chance or Chance(), rules or Rules()).play()


@dataclass
class _World:
    """Nodes and workers that receive instructions at once."""

    works: Sequence[Work]
    nodes: Sequence[float]
    chance: Chance
    rules: Rules
    now: float = 0.0
    busy: float = 0.0
    deaths: int = 0
    failed: int = 0
    spent: float = 0.0
    cut: set[str] = field(default_factory=set)
    held: dict[int, str] = field(default_factory=dict)
    begun: dict[int, tuple[float, Work]] = field(default_factory=dict)
    queue: list[tuple[float, int, Event]] = field(default_factory=list)

    def play(self) -> Simulated:
        """Until nothing is left."""
        schedule = Schedule(self.works, self.rules)
        self._tell(schedule, [NodeJoined(f"n{i}", size) for i, size in enumerate(self.nodes)])
        self._later(TICK, 0, Tick())
        last = 0.0
        while not schedule.over:
            self.now, worker, event = heapq.heappop(self.queue)
            if isinstance(event, Tick):
                self._later(TICK, 0, event)
            elif worker in self.begun:
                self._stop(worker)
                self.deaths += isinstance(event, Died)
                last = self.now
            else:
                continue
            self._tell(schedule, [event])
        true = [self.chance.true(work) for work in self.works]
        return Simulated(
            last, lower_bound(true, self.nodes), schedule.loads,
            least_loads(true, last) + self.deaths, self.busy / (sum(self.nodes) * last or 1.0),
            self.deaths, len(self.cut), self.failed, self.spent,
        )  # fmt: skip

    def _tell(self, schedule: Schedule, events: Sequence[Event]) -> None:
        start = time.perf_counter()
        instructions = schedule.handle(events, self.now)
        self.spent += time.perf_counter() - start
        for each in instructions:
            self._do(each)

    def _do(self, instruction: Instruction) -> None:
        match instruction:
            case Give(worker, work, _):
                self._begin(worker, work)
            case Close(worker):
                if worker in self.begun:
                    self._stop(worker)
            case GiveUp(work, _):
                self.failed += len(work.units)
            case Open():
                pass

    def _begin(self, worker: int, work: Work) -> None:
        cost, fate = self.chance.of(work)
        load = 0.0 if self.held.get(worker) == work.affinity else work.load
        self.held[worker] = work.affinity
        self.begun[worker] = self.now, work
        if ".1of" in work.id:
            self.cut.add(work.id)
        if fate is None:
            self._later(load + cost, worker, Finished(worker))
        else:
            self._later(load + cost * fate, worker, Died(worker, "of chance"))

    def _stop(self, worker: int) -> None:
        since, work = self.begun.pop(worker)
        self.busy += (self.now - since) * work.size

    def _later(self, seconds: float, worker: int, event: Event) -> None:
        # Numbers tell events of one moment apart; two of one worker are never under way.
        heapq.heappush(self.queue, (self.now + seconds, worker, event))
