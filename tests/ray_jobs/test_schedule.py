"""Which work comes next, without any process."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from steereval.ray_jobs.schedule import Queue
from steereval.ray_jobs.work import Work


def work(name: str, cost: float = 1.0, affinity: str = "a") -> Work:
    return Work(name, cost, affinity, None)


lists = st.lists(st.tuples(st.floats(0, 100), st.sampled_from("abc")), max_size=15).map(
    lambda rows: [work(str(n), *row) for n, row in enumerate(rows)]
)
askers = st.lists(st.integers(0, 3), min_size=60, max_size=60)


@given(lists, askers)
def test_all_are_given_once(works: list[Work], order: list[int]) -> None:
    queue = Queue.of(works)
    found = [queue.next_for(worker) for worker in order]
    assert Counter(each for each in found if each) == Counter(works)
    assert found[len(works) :] == [None] * (len(order) - len(works))


@given(lists, askers)
def test_affinity_is_kept_while_there_is_work_of_it(works: list[Work], order: list[int]) -> None:
    queue = Queue.of(works)
    left = Counter(each.affinity for each in works)
    held: dict[int, str] = {}
    for worker in order[: len(works)]:
        found = queue.next_for(worker)
        assert found is not None
        if left[held.get(worker, "")] > 0:
            assert found.affinity == held[worker]
        held[worker] = found.affinity
        left[found.affinity] -= 1


@given(lists, askers)
def test_dearest_first_within_an_affinity(works: list[Work], order: list[int]) -> None:
    queue = Queue.of(works)
    given_works = [found for worker in order if (found := queue.next_for(worker))]
    for affinity in "abc":
        costs = [each.cost for each in given_works if each.affinity == affinity]
        assert costs == sorted(costs, reverse=True)


@given(lists, askers, st.lists(st.booleans(), min_size=60, max_size=60))
def test_what_is_put_back_is_given_again(
    works: list[Work], order: list[int], dies: list[bool]
) -> None:
    """However often workers die, every piece of work is done once in the end."""
    queue = Queue.of(works)
    done: list[Work] = []
    for worker, dead in zip(order, dies, strict=True):
        found = queue.next_for(worker)
        if found is None:
            continue
        if dead:
            queue.put_back(found)
            queue.forget(worker)
        else:
            done.append(found)
    while (found := queue.next_for(9)) is not None:
        done.append(found)
    assert Counter(done) == Counter(works)


def test_equal_costs_keep_their_order() -> None:
    works = [work(name) for name in "xyz"]
    queue = Queue.of(works)
    assert [queue.next_for(0) for _ in works] == works


def test_put_back_is_next_of_its_affinity() -> None:
    queue = Queue.of([work("dear", 5), work("cheap", 1)])
    dear = queue.next_for(0)
    assert dear is not None
    queue.put_back(dear)
    assert queue.next_for(1) is dear


def test_workers_spread_over_affinities() -> None:
    """By the work left for each worker that would hold it: a 12; b 6 and not a 9/2; a 9/2."""
    works = [work(f"a{n}", 3, "a") for n in range(4)] + [work(f"b{n}", 3, "b") for n in range(2)]
    queue = Queue.of(works)
    given_works = [queue.next_for(worker) for worker in range(3)]
    assert [each.affinity for each in given_works if each] == ["a", "b", "a"]


def test_a_worker_that_is_gone_holds_nothing() -> None:
    works = [work(f"a{n}", 3, "a") for n in range(3)] + [work("b", 4, "b")]
    queue = Queue.of(works)
    assert queue.holding == {}
    first = queue.next_for(0)
    assert first is not None
    assert queue.holding == {0: "a"}
    queue.forget(0)
    queue.forget(7)
    assert queue.holding == {}
    second = queue.next_for(1)
    assert second is not None
    assert second.affinity == "a"


def test_nothing_to_do() -> None:
    assert Queue.of([]).next_for(0) is None


def test_scheduling_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, steereval.ray_jobs.schedule, steereval.ray_jobs.serial;"
        "assert not {'ray', 'torch', 'lm_eval'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
