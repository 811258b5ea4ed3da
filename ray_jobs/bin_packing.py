"""How many workers each affinity needs: works packed into bins, one bin a worker.

A worker that holds what its works need should do as many of them as the deadline allows, since
every further worker loads it again; and no deadline may lie before what the costliest work, or the
whole capacity, allows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from steereval.ray_jobs.work import Work

Item = TypeVar("Item")

SLACK = 1e-9
"""Sums of fractions of a device may miss a whole number by this much."""
FINEST = 1.01
"""A deadline is found to this factor."""
UNEVEN = 1.06
"""How far beyond what is possible bins may end before works are moved between them."""
WORTH = 2.0
"""How many times the cost of loading once more must be spared by it."""


@dataclass
class Bin:
    """Works for one worker, those of one affinity together."""

    works: list[Work] = field(default_factory=list)
    """Most expensive first within an affinity; never empty."""

    @property
    def size(self) -> float:
        """Size of its worker: the share of a node."""
        return self.works[0].size

    @property
    def cost(self) -> float:
        """Cost of all its works, with loading once for each affinity."""
        return sum(work.cost for work in self.works) + self.loads

    @property
    def loads(self) -> float:
        """Cost of loading alone."""
        return sum({work.affinity: work.load for work in self.works}.values())


def lower_bound(works: Sequence[Work], capacities: Sequence[float]) -> float:
    """No schedule that keeps works whole ends before this cost: the costliest work with its load,
    or all works, each affinity loaded once, shared evenly over all `capacities`."""
    if not works:
        return 0.0
    longest = max(work.load + work.cost for work in works)
    loads = {work.affinity: work.load * work.size for work in works}
    area = sum(work.cost * work.size for work in works) + sum(loads.values())
    return max(longest, area / max(sum(capacities), SLACK))


def least_loads(works: Sequence[Work], deadline: float) -> int:
    """No schedule that ends by `deadline` loads less often: each affinity needs as many workers
    as its cost fills from loading to the deadline."""
    total: dict[str, float] = {}
    loads: dict[str, float] = {}
    for work in works:
        total[work.affinity] = total.get(work.affinity, 0.0) + work.cost
        loads[work.affinity] = work.load
    return sum(math.ceil(cost / (deadline - loads[key]) - SLACK) for key, cost in total.items())


def packed(works: Sequence[Work], capacities: Sequence[float]) -> tuple[float, list[Bin]]:
    """The earliest deadline whose bins have room on the nodes together, and these bins.

    Where even one bin for each affinity finds no room, bins of that kind are returned, and the
    caller lets some wait. Bins come costliest first.
    """
    low = lower_bound(works, capacities)
    high = max(low, *(sum(w.cost for w in same) + same[0].load for same in _alike(works)))
    best = bins_within(works, low)
    if fits(best, capacities):
        return low, best
    bound, best = low, bins_within(works, high)
    while high > FINEST * low:
        middle = math.sqrt(low * high)
        tried = bins_within(works, middle)
        if fits(tried, capacities):
            high, best = middle, tried
        else:
            low = middle
    uneven = high > UNEVEN * bound and fits(best, capacities)
    return high, levelled(best) if uneven else best


def levelled(bins: Sequence[Bin]) -> list[Bin]:
    """Move works from the costliest to the cheapest bin while that saves time.

    A move must spare `WORTH` times the loading that it causes. Works of one affinity were kept
    together, which leaves small bins next to large ones.
    """
    levels = [Bin(list(each.works)) for each in bins]
    while len(levels) > 1:
        levels.sort(key=lambda each: -each.cost)
        costliest, cheapest = levels[0], levels[-1]
        moves = [_moved(costliest, cheapest, work) for work in costliest.works]
        spared, left, taken = max(moves, key=lambda move: move[0])
        if costliest.size != cheapest.size or spared <= 0:
            break
        levels[0], levels[-1] = left, taken
    return levels


def _moved(giver: Bin, taker: Bin, work: Work) -> tuple[float, Bin, Bin]:
    """The cost saved by moving `work`, less the least gain for further loading; and both bins."""
    rest = [other for other in giver.works if other is not work]
    together = [*taker.works, work]
    place = {key: n for n, key in enumerate(dict.fromkeys(each.affinity for each in together))}
    together.sort(key=lambda each: (place[each.affinity], -each.cost))
    left, taken = Bin(rest), Bin(together)
    if not rest:
        return -math.inf, left, taken
    loads = left.loads + taken.loads - giver.loads - taker.loads
    spared = giver.cost - max(left.cost, taken.cost)
    return spared - WORTH * max(loads, 0.0) - SLACK, left, taken


def bins_within(works: Sequence[Work], deadline: float) -> list[Bin]:
    """Bins that each end by `deadline`, best fit decreasing, costliest bin first.

    Bins of different affinities share a worker where the deadline allows: that loads no more
    often, and takes less room.
    """
    sizes: dict[float, list[Bin]] = {}
    for same in _alike(works):
        same_bins = [
            Bin(list(each))
            for each in _best_fit(same, [w.cost for w in same], deadline - same[0].load)
        ]
        sizes.setdefault(same[0].size, []).extend(same_bins)
    packed_bins = []
    for bins in sizes.values():
        for together in _best_fit(bins, [each.cost for each in bins], deadline):
            packed_bins.append(Bin([work for each in together for work in each.works]))
    return sorted(packed_bins, key=lambda each: -each.cost)


def fits(bins: Sequence[Bin], capacities: Sequence[float]) -> bool:
    """Whether all bins have room at the same time, placed first fit decreasing."""
    free = list(capacities)
    for size in sorted((each.size for each in bins), reverse=True):
        place = next((i for i, left in enumerate(free) if left + SLACK >= size), None)
        if place is None:
            return False
        free[place] -= size
        if free[place] <= SLACK:
            del free[place]
    return True


def _alike(works: Sequence[Work]) -> list[list[Work]]:
    alike: dict[str, list[Work]] = {}
    for work in works:
        alike.setdefault(work.affinity, []).append(work)
    return list(alike.values())


def _best_fit(items: Sequence[Item], costs: Sequence[float], room: float) -> list[list[Item]]:
    """`items` in as few lists as best fit decreasing finds; one that exceeds `room` is alone."""
    bins: list[list[Item]] = []
    left: list[tuple[float, int]] = []
    for index in sorted(range(len(items)), key=lambda index: -costs[index]):
        place = bisect_left(left, (costs[index] - SLACK, -1))
        if place == len(left):
            free, number = room, len(bins)
            bins.append([])
        else:
            free, number = left.pop(place)
        bins[number].append(items[index])
        insort(left, (free - costs[index], number))
    return bins
