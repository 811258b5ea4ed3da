"""Which worker does what, as a state machine: events in, instructions out.

Nothing here depends on processes, on Ray or on the kind of work. The rules:
- works are packed into bins, one bin a worker, so that few workers load the same (bin_packing.py);
- a worker whose bin is empty takes a bin that waits, of what it holds if there is one, else it
  takes over work that another worker has not begun, else it ends;
- work whose worker died is given to another one up to a limit, then cut in halves down to single
  units, so that one unit that kills its worker costs the others nothing but time;
- work that is late, because its worker is slow or died near the end, is cut into parts for idle
  capacity, but only where that saves `min_split_saving_s`: the last bits of a result depend on what
  is computed together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from steereval.ray_jobs.bin_packing import SLACK, Bin, packed
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
from steereval.ray_jobs.pace import Pace
from steereval.ray_jobs.rules import Rules
from steereval.ray_jobs.work import Work


@dataclass
class _Holder:
    """A worker: where it is, what it holds and does."""

    node: str
    size: float
    affinity: str
    bin: list[Work]
    running: Work | None = None
    since: float = 0.0
    loading: float = 0.0
    """Cost of loading that is part of what it does now."""


@dataclass
class _Node:
    capacity: float
    free: float
    rests_until: float = -math.inf


@dataclass
class Schedule:
    """The state of one run; `handle` takes events and returns instructions."""

    works: Sequence[Work]
    """All works; their ids differ."""
    rules: Rules = field(default_factory=Rules)
    """Limits."""
    loads: int = field(default=0, init=False)
    """How often a worker was given work of an affinity that it did not hold."""
    _nodes: dict[str, _Node] = field(default_factory=dict, init=False)
    _holders: dict[int, _Holder] = field(default_factory=dict, init=False)
    _waiting: list[Bin] = field(default_factory=list, init=False)
    _tries: dict[str, int] = field(default_factory=dict, init=False)
    _starts: dict[str, int] = field(default_factory=dict, init=False)
    _avoid_node: dict[str, str] = field(default_factory=dict, init=False)
    _started: float | None = field(default=None, init=False)
    _deadline: float = field(default=0.0, init=False)
    _pace: Pace = field(default_factory=Pace, init=False)
    _unplaceable_since: float | None = field(default=None, init=False)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), init=False)

    def __post_init__(self) -> None:
        """Nothing has begun."""
        self._waiting = [Bin([work]) for work in self.works]

    @property
    def over(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and not any(
            holder.running or holder.bin for holder in self._holders.values()
        )

    @property
    def running(self) -> int:
        """How many workers are doing work."""
        return sum(holder.running is not None for holder in self._holders.values())

    def handle(self, events: Sequence[Event], now: float) -> list[Instruction]:
        """Instructions after `events`, which happened together at `now` seconds."""
        done: list[Instruction] = []
        for event in events:
            match event:
                case NodeJoined(node, capacity):
                    self._nodes[node] = _Node(capacity, capacity)
                case NodeLost(node):
                    done += self._lose_node(node)
                case Finished(worker, again):
                    done += self._finish(worker, again, now)
                case Died(worker, reason, ran):
                    done += (
                        self._on_worker_lost(worker, reason)
                        if ran
                        else self._on_start_failed(worker, reason, now)
                    )
                case Tick():
                    done += self._overdue(now)
        if any(isinstance(event, NodeJoined | NodeLost) for event in events):
            self._pack(now)
        done += self._occupy(now)
        done += self._give_up_unplaceable(now)
        return done

    # Events

    def _finish(self, worker: int, again: tuple[int, ...], now: float) -> Iterator[Instruction]:
        holder = self._holders[worker]
        work = holder.running
        assert work is not None, f"worker {worker} had nothing to finish"
        self._pace.add(now - holder.since, work.cost + holder.loading)
        holder.running = None
        if again:
            # Failed work may have broken its worker: a new one takes its place.
            yield from self._drop(worker)
            left = work.only(again)
            self._tries[left.id] = self.rules.retries
            self._avoid_node[left.id] = holder.node
            self._wait([left])

    def _on_start_failed(self, worker: int, reason: str, now: float) -> Iterator[Instruction]:
        """A worker could not be started: its node rests for a while, and may be lost already."""
        holder = self._holders.get(worker)
        if holder is None or holder.running is None:
            return
        if holder.node in self._nodes:
            self._nodes[holder.node].rests_until = now + self.rules.node_cooldown_s
        work = holder.running
        starts = self._starts[work.id] = self._starts.get(work.id, 0) + 1
        if starts > self.rules.starts:
            holder.running = None
            yield from self._drop(worker)
            yield GiveUp(work, f"no worker could be started for it {starts} times: {reason}")
        else:
            holder.bin.insert(0, work)
            holder.running = None
            yield from self._drop(worker)

    def _on_worker_lost(self, worker: int, reason: str) -> Iterator[Instruction]:
        if worker not in self._holders:
            return
        holder = self._holders[worker]
        work, holder.running = holder.running, None
        if work is not None:
            yield from self._try_again(work, holder, reason)
        yield from self._drop(worker)

    def _try_again(self, work: Work, holder: _Holder, reason: str) -> Iterator[Instruction]:
        """Put lost work before what its worker had not begun, or give it up."""
        tries = self._tries[work.id] = self._tries.get(work.id, 0) + 1
        if tries <= self.rules.retries:
            self._avoid_node[work.id] = holder.node
            holder.bin.insert(0, work)
        elif len(work.units) > 1:
            for part in work.parts(2):
                self._tries[part.id] = self.rules.retries
                self._wait([part])
        else:
            yield GiveUp(work, f"its worker was lost {tries} times, last because {reason}")

    def _lose_node(self, node: str) -> Iterator[Instruction]:
        self._nodes.pop(node, None)
        for worker in [w for w, holder in self._holders.items() if holder.node == node]:
            yield from self._on_worker_lost(worker, f"node {node} was lost")

    def _overdue(self, now: float) -> Iterator[Instruction]:
        """Close workers that hang, and those whose work is better cut and done elsewhere."""
        for worker, holder in list(self._holders.items()):
            work = holder.running
            if work is None:
                continue
            elapsed = now - holder.since
            if work.limit is not None and elapsed > work.limit:
                yield from self._on_worker_lost(
                    worker, f"it took longer than {work.limit:g} s, its limit"
                )
            elif self._late(work, holder, elapsed) and self._pieces(work, now) > 1:
                holder.running = None
                yield from self._drop(worker)
                self._wait([work])

    def _late(self, work: Work, holder: _Holder, elapsed: float) -> bool:
        expected = self._pace.seconds(work.cost + holder.loading)
        return self._pace.known and elapsed > self.rules.straggler_factor * expected

    # Time

    def _end_by(self) -> float:
        """The deadline as a time."""
        return (self._started or 0.0) + self._pace.seconds(
            self._deadline
        ) * self.rules.deadline_slack

    def _pack(self, now: float) -> None:
        """Pack everything that has not begun for the nodes as they are now."""
        capacities = [node.capacity for node in self._nodes.values()]
        works = [work for each in self._waiting for work in each.works]
        for holder in self._holders.values():
            works += holder.bin
            holder.bin = []
        self._waiting = []
        if not works:
            return
        large = max(capacities, default=0.0) + SLACK
        deadline, bins = packed([work for work in works if work.size <= large], capacities)
        if self._started is None:
            self._started = now
        elapsed = now - self._started
        self._deadline = deadline + elapsed / self._pace.seconds(1.0)
        self._waiting = bins + [Bin([work]) for work in works if work.size > large]

    def _pieces(self, work: Work, now: float) -> int:
        """Into how many parts `work` is cut so that it ends in time; 1 where that is not worth
        it. The parts need not find room at once: other workers end before the deadline."""
        if not self._pace.known or self._capacity() < 2 * work.size:
            return 1
        whole = self._pace.seconds(work.load + work.cost)
        spare = max(self._end_by() - now - self._pace.seconds(work.load), 0.0)
        if whole <= max(self._end_by() - now, self.rules.min_split_saving_s):
            return 1
        finest = self._pace.seconds(work.cost) / len(work.units)
        count = min(math.ceil(self._pace.seconds(work.cost) / max(spare, finest)), len(work.units))
        saved = whole - self._pace.seconds(work.load + work.cost / count)
        return count if saved > self.rules.min_split_saving_s else 1

    def _cut_late(self, now: float) -> None:
        """Cut what waits and would be late, while there is idle capacity for its parts."""
        for waiting in list(self._waiting):
            work = waiting.works[0]
            count = self._pieces(work, now)
            if count > 1:
                self._waiting.remove(waiting)
                if waiting.works[1:]:
                    self._wait(waiting.works[1:])
                for part in work.parts(count):
                    self._tries[part.id] = self._tries.get(work.id, 0)
                    self._wait([part])

    # Who does what next

    def _wait(self, works: list[Work]) -> None:
        self._waiting.append(Bin(works))
        self._waiting.sort(key=lambda each: -each.cost)

    def _drop(self, worker: int) -> Iterator[Instruction]:
        """End a worker; what it had not begun waits."""
        holder = self._holders.pop(worker)
        if holder.node in self._nodes:
            self._nodes[holder.node].free += holder.size
        if holder.bin:
            self._wait(holder.bin)
        yield Close(worker)

    def _occupy(self, now: float) -> Iterator[Instruction]:
        """Give idle workers work, end those for which there is none, open what has room."""
        for worker, holder in list(self._holders.items()):
            if holder.running is None:
                yield from self._next(worker, holder, now)
        self._cut_late(now)
        for waiting in list(self._waiting):
            node = self._room(waiting, now)
            if node is not None:
                self._waiting.remove(waiting)
                yield from self._open(node, waiting, now)
        yield from self._rebalance(now)

    def _next(self, worker: int, holder: _Holder, now: float) -> Iterator[Instruction]:
        if not holder.bin:
            holder.bin = self._take(holder, now)
        if holder.bin:
            yield self._give(worker, holder, now)
        else:
            yield from self._drop(worker)

    def _take(self, holder: _Holder, now: float) -> list[Work]:
        """Work for a worker whose bin is empty."""
        fitting = [each for each in self._waiting if abs(each.size - holder.size) <= SLACK]
        held = [each for each in fitting if each.works[0].affinity == holder.affinity]
        for chosen in (held or fitting)[:1]:
            self._waiting.remove(chosen)
            return chosen.works
        return self._steal(holder.affinity, holder.size, now)

    def _steal(self, affinity: str, size: float, now: float) -> list[Work]:
        """Work that another worker has not begun: the costliest of the fullest bin.

        Where it must be loaded first, only if it would be late otherwise.
        """
        others = [h for h in self._holders.values() if h.bin and abs(h.size - size) <= SLACK]
        same = [h for h in others if h.affinity == affinity and h.running]
        if not same:
            same = [h for h in others if h.running and self._behind(h, now)]
        if not same:
            return []
        fullest = max(same, key=lambda h: sum(work.cost for work in h.bin))
        return [fullest.bin.pop(0)]

    def _behind(self, holder: _Holder, now: float) -> bool:
        """Whether a worker will end its bin so late that loading it once more elsewhere pays."""
        assert holder.running is not None
        left = self._pace.seconds(holder.running.cost + holder.loading) - (now - holder.since)
        backlog = self._pace.seconds(sum(work.cost for work in holder.bin))
        pays = holder.bin[0].load + holder.bin[0].cost < left + backlog
        return pays and now + max(left, 0.0) + backlog > self._end_by()

    def _rebalance(self, now: float) -> Iterator[Instruction]:
        """Open workers on idle capacity for work that waits behind late work."""
        if self._waiting or not self._pace.known:
            return
        for holder in list(self._holders.values()):
            while holder.running and holder.bin and self._behind(holder, now):
                moved = Bin([holder.bin[0]])
                node = self._room(moved, now)
                if node is None:
                    break
                holder.bin.pop(0)
                yield from self._open(node, moved, now)

    def _room(self, waiting: Bin, now: float) -> str | None:
        """The fullest node with room, another than the one where the work died if there is one."""
        roomy = [(node.free, name) for name, node in self._nodes.items()
                 if node.free + SLACK >= waiting.size and node.rests_until <= now]  # fmt: skip
        avoided = self._avoid_node.get(waiting.works[0].id)
        better = [each for each in roomy if each[1] != avoided] or roomy
        return min(better)[1] if better else None

    def _open(self, node: str, opened: Bin, now: float) -> Iterator[Instruction]:
        worker = next(self._numbers)
        self._nodes[node].free -= opened.size
        holder = _Holder(node, opened.size, "", list(opened.works))
        self._holders[worker] = holder
        yield Open(worker, node, opened.size)
        yield self._give(worker, holder, now)

    def _give(self, worker: int, holder: _Holder, now: float) -> Give:
        work = holder.bin.pop(0)
        fresh = work.affinity != holder.affinity
        self.loads += fresh
        holder.running, holder.since, holder.affinity = work, now, work.affinity
        holder.loading = work.load if fresh else 0.0
        return Give(worker, work, self._tries.get(work.id, 0) >= self.rules.retries)

    def _give_up_unplaceable(self, now: float) -> Iterator[GiveUp]:
        """Give up what no node has had room for, with nothing under way that could make room."""
        stuck = [each for each in self._waiting if each.size > self._largest() + SLACK]
        if not stuck:
            self._unplaceable_since = None
            return
        self._unplaceable_since = (
            now if self._unplaceable_since is None else self._unplaceable_since
        )
        if now - self._unplaceable_since < self.rules.placement:
            return
        for each in stuck:
            self._waiting.remove(each)
            reason = f"it needs {each.size:g} of a node, and the largest has {self._largest():g}"
            for work in each.works:
                yield GiveUp(work, reason)

    def _capacity(self) -> float:
        return sum(node.capacity for node in self._nodes.values())

    def _largest(self) -> float:
        return max((node.capacity for node in self._nodes.values()), default=0.0)
