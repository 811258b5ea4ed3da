"""Works in bins: all of them once, no bin beyond the deadline, bounds that hold."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.ray_jobs.bin_packing import (
    Bin,
    bins_within,
    fits,
    least_loads,
    levelled,
    lower_bound,
    packed,
)
from steereval.ray_jobs.work import Work

LOADS = {"a": 0.0, "b": 1.0, "c": 5.0}
SIZES = {"a": 1.0, "b": 0.25, "c": 2.0}


def work(name: str, cost: float, affinity: str = "a") -> Work:
    return Work(name, (name,), cost, affinity, LOADS[affinity], SIZES[affinity])


works_of = st.lists(
    st.tuples(st.floats(0.1, 100), st.sampled_from("abc")), min_size=1, max_size=12
).map(lambda rows: [work(str(n), *row) for n, row in enumerate(rows)])
nodes_of = st.lists(st.sampled_from([2.0, 4.0, 8.0]), min_size=1, max_size=4)


@given(works_of, st.floats(0.1, 300))
def test_every_work_is_in_one_bin_that_ends_in_time(works: list[Work], deadline: float) -> None:
    bins = bins_within(works, deadline)
    assert Counter(each.id for one in bins for each in one.works) == Counter(w.id for w in works)
    for one in bins:
        assert len({each.size for each in one.works}) == 1
        assert one.cost <= deadline + 1e-6 or len(one.works) == 1


@given(works_of, nodes_of)
def test_a_deadline_is_never_below_the_bound(works: list[Work], nodes: list[float]) -> None:
    deadline, bins = packed(works, nodes)
    assert deadline >= lower_bound(works, nodes)
    assert Counter(each.id for one in bins for each in one.works) == Counter(w.id for w in works)
    if fits(bins, nodes):
        assert all(one.cost <= deadline * (1 + 1e-9) + 1e-6 for one in bins)


@given(works_of, st.floats(0.1, 300))
def test_levelling_moves_works_and_never_ends_later(works: list[Work], deadline: float) -> None:
    bins = bins_within(works, deadline)
    level = levelled(bins)
    assert Counter(each.id for one in level for each in one.works) == Counter(w.id for w in works)
    assert len(level) == len(bins)
    assert max(one.cost for one in level) <= max(one.cost for one in bins)
    for one in level:
        assert len({each.size for each in one.works}) == 1
        keys = [each.affinity for each in one.works]
        assert len(list(itertools.groupby(keys))) == len(set(keys))


@pytest.mark.parametrize(("load", "ends"), [(0.5, [22.5, 21.5]), (2.0, [26.0, 19.0])])
def test_works_of_one_affinity_part_where_that_is_worth_loading(
    load: float, ends: list[float]
) -> None:
    """Two repeated groups that were packed as one; moving one of them spares 2 at most."""
    works = [Work(name, (1,), 11.0 - n, "m") for n, name in enumerate("pqrs")]
    repeats = [Work(name, (1,), cost, "again", load) for name, cost in (("x", 3.0), ("y", 2.0))]
    first, second = Bin([works[0], works[3], *repeats]), Bin(works[1:3])
    first, second = levelled([first, second])
    assert sorted([first.cost, second.cost], reverse=True) == [pytest.approx(end) for end in ends]


def test_works_that_fit_together_share_a_worker() -> None:
    """Two models on one worker load no more often than on two, and take less room."""
    works = [work("x", 10, "a"), work("y", 6, "a"), work("z", 4, "a")]
    assert [[w.id for w in one.works] for one in bins_within(works, 10)] == [["x"], ["y", "z"]]
    mixed = [Work("p", (1,), 3, "m", 1.0), Work("q", (1,), 2, "n", 1.0)]
    assert len(bins_within(mixed, 7)) == 1
    assert len(bins_within(mixed, 6.9)) == 2


@given(st.lists(st.floats(1, 10), min_size=1, max_size=6), st.integers(1, 3))
def test_the_bound_holds_for_every_way_of_sharing(costs: list[float], workers: int) -> None:
    works = [Work(str(n), (n,), cost, "m", 2.0) for n, cost in enumerate(costs)]
    best = min(
        max(sum(c for c, w in zip(costs, way, strict=True) if w == one) + 2.0 for one in set(way))
        for way in itertools.product(range(workers), repeat=len(costs))
    )
    assert lower_bound(works, [float(workers)]) <= best + 1e-9
    deadline, bins = packed(works, [float(workers)])
    assert deadline <= 4 / 3 * best + 1e-6
    assert len(bins) >= least_loads(works, deadline)


@pytest.mark.parametrize(
    ("sizes", "nodes", "room"),
    [([1, 1], [2], True), ([1.5, 1.5], [2, 1], False), ([0.25] * 4, [1], True),
     ([0.25] * 5, [1], False), ([4, 1], [1, 4], True), ([], [], True), ([1], [], False)],
)  # fmt: skip
def test_room(sizes: list[float], nodes: list[float], room: bool) -> None:
    bins = [Bin([Work("w", (1,), 1, "a", size=size)]) for size in sizes]
    assert fits(bins, nodes) is room


def test_nothing_to_do() -> None:
    assert lower_bound([], [1.0]) == 0
    assert bins_within([], 1.0) == []
