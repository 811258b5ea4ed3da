"""Which piece of work an idle worker does next: pure, without any notion of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from steereval.ray_jobs.work import Work


@dataclass
class Queue:
    """Work not yet begun, by affinity, dearest first."""

    waiting: dict[str, list[Work]] = field(default_factory=dict)
    """Work by affinity, cheapest first, so that the dearest is popped."""
    holding: dict[int, str] = field(default_factory=dict)
    """What each worker holds: the affinity of the last work it was given."""

    @classmethod
    def of(cls, works: Sequence[Work]) -> Queue:
        """A queue of `works`; equal costs keep their order."""
        queue = cls()
        ordered = list(reversed(works))
        ordered.sort(key=lambda work: work.cost)
        for work in ordered:
            queue.waiting.setdefault(work.affinity, []).append(work)
        return queue

    def next_for(self, worker: int) -> Work | None:
        """The next work for `worker`: of what it holds; else of the affinity with the most work
        left for each worker that holds it. None when nothing waits."""
        candidates = [affinity for affinity, works in self.waiting.items() if works]
        if not candidates:
            return None
        held = self.holding.get(worker)
        if held not in candidates:
            held = max(candidates, key=self._load)
        self.holding[worker] = held
        return self.waiting[held].pop()

    def put_back(self, work: Work) -> None:
        """Return work whose worker died; it is next of its affinity."""
        self.waiting.setdefault(work.affinity, []).append(work)

    def forget(self, worker: int) -> None:
        """`worker` is gone, and what it held with it."""
        self.holding.pop(worker, None)

    def _load(self, affinity: str) -> float:
        holders = sum(held == affinity for held in self.holding.values())
        return sum(work.cost for work in self.waiting[affinity]) / (1 + holders)
