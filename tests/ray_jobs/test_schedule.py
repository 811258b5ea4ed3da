"""The state machine, without any process: whatever happens, every unit ends once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steereval.ray_jobs.events import (
    Close,
    Died,
    Event,
    Finished,
    Give,
    GiveUp,
    NodeJoined,
    NodeLost,
    Open,
    Tick,
)
from steereval.ray_jobs.pace import Pace
from steereval.ray_jobs.rules import Rules
from steereval.ray_jobs.schedule import Schedule
from steereval.ray_jobs.work import Work


def work(name: str, cost: float = 1.0, affinity: str = "a", units: int = 1, **rest: float) -> Work:
    return Work(name, tuple(f"{name}{n}" for n in range(units)), cost, affinity, **rest)


@dataclass
class Play:
    """A schedule, and what it has asked for so far."""

    schedule: Schedule
    now: float = 0.0
    open: dict[int, tuple[str, float]] = field(default_factory=dict)
    doing: dict[int, Work] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    given: list[Give] = field(default_factory=list)

    def tell(self, *events: Event, after: float = 0.0) -> None:
        self.now += after
        for event in events:
            if isinstance(event, Finished):
                finished = self.doing.pop(event.worker)
                self.done += [u for n, u in enumerate(finished.units) if n not in event.again]
            elif isinstance(event, Died):
                self.doing.pop(event.worker, None)
            elif isinstance(event, NodeLost):
                for worker in [w for w, (node, _) in self.open.items() if node == event.node]:
                    self.doing.pop(worker, None)
        for each in self.schedule.handle(list(events), self.now):
            match each:
                case Open(worker, node, size):
                    assert worker not in self.open
                    self.open[worker] = node, size
                case Give(worker, given_work, _):
                    assert worker in self.open
                    assert worker not in self.doing, "a worker does one thing at a time"
                    self.doing[worker] = given_work
                    self.given.append(each)
                case Close(worker):
                    del self.open[worker]
                    self.doing.pop(worker, None)
                case GiveUp(left, reason):
                    self.given_up += left.units
                    self.reasons.append(reason)

    def used(self, node: str) -> float:
        return sum(size for where, size in self.open.values() if where == node)

    def finish_all(self) -> None:
        for _ in range(10_000):
            if self.schedule.over:
                return
            if self.doing:
                self.tell(Finished(next(iter(self.doing))), after=1.0)
            else:
                self.tell(Tick(), after=60.0)
        pytest.fail("the schedule never ends")


def play(works: Sequence[Work], *nodes: float, rules: Rules | None = None) -> Play:
    result = Play(Schedule(works, rules or Rules()))
    result.tell(*(NodeJoined(f"n{i}", capacity) for i, capacity in enumerate(nodes)))
    return result


@st.composite
def grids(draw: st.DrawFn) -> list[Work]:
    sizes = {"a": 1.0, "b": draw(st.sampled_from([0.25, 0.5, 2.0])), "c": 4.0}
    rows = draw(st.lists(st.tuples(st.floats(0.1, 2000), st.sampled_from("abc"),
                                   st.integers(1, 5)), max_size=10))  # fmt: skip
    return [
        work(f"w{n}.", cost, key, units, size=sizes[key], load=10.0)
        for n, (cost, key, units) in enumerate(rows)
    ]


happenings = st.lists(
    st.tuples(
        st.sampled_from(["finish", "again", "die", "misplace", "lose", "join", "tick"]),
        st.integers(0, 9), st.floats(0, 500),
    ), max_size=40,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300)
@given(grids(), happenings)
def test_every_unit_ends_once(works: list[Work], events: list[tuple[str, int, float]]) -> None:
    """And no node ever holds more than it can."""
    run = play(works, 4.0, 4.0)
    nodes = {"n0": 4.0, "n1": 4.0}
    for kind, choice, seconds in events:
        workers = sorted(run.doing)
        worker = workers[choice % len(workers)] if workers else None
        if kind == "tick":
            run.tell(Tick(), after=seconds)
        elif kind == "join":
            nodes[f"m{len(nodes)}"] = 4.0
            run.tell(NodeJoined(f"m{len(nodes) - 1}", 4.0), after=seconds)
        elif kind == "lose" and len([n for n in nodes.values() if n]) > 1:
            lost = sorted(n for n in nodes if nodes[n])[choice % 2]
            nodes[lost] = 0.0
            run.tell(NodeLost(lost), after=seconds)
        elif worker is not None and kind in ("finish", "again"):
            places = (0,) if kind == "again" else ()
            # Whoever is told that nobody tries again has nothing to hand back.
            last = next(g.last for g in reversed(run.given) if g.worker == worker)
            run.tell(Finished(worker, () if last else places), after=seconds)
        elif worker is not None:
            run.tell(Died(worker, "of chance", kind == "die"), after=seconds)
        assert all(run.used(node) <= capacity + 1e-6 for node, capacity in nodes.items())
    run.finish_all()
    units = [unit for each in works for unit in each.units]
    assert Counter(run.done) + Counter(run.given_up) == Counter(units)
    assert not run.doing


def test_most_expensive_first_and_affinity_is_kept() -> None:
    works = [work(f"{key}{n}", n, key, load=1.0) for key in "ab" for n in (1, 3, 2)]
    run = play(works, 2.0)
    run.finish_all()
    by_worker: dict[int, list[str]] = {}
    for each in run.given:
        by_worker.setdefault(each.worker, []).append(each.work.id)
    assert sorted(by_worker.values()) == [["a3", "a2", "a1"], ["b3", "b2", "b1"]]
    assert run.schedule.loads == 2


def test_one_worker_does_one_affinity_after_the_other() -> None:
    run = play([work(f"{key}{n}", 1, key, load=1.0) for n in range(3) for key in "ab"], 1.0)
    run.finish_all()
    keys = [each.work.affinity for each in run.given]
    assert keys in ([*"aaabbb"], [*"bbbaaa"])
    assert run.schedule.loads == 2


def test_no_more_workers_than_the_deadline_needs() -> None:
    """One work of 10 sets the deadline; ten of 2 fill two more workers, though eight are free."""
    works = [work("long", 10, load=0.1), *(work(f"s{n}", 1.9, load=0.1) for n in range(10))]
    run = play(works, 8.0)
    assert len(run.open) == 3


def test_an_idle_worker_takes_over_what_another_has_not_begun() -> None:
    run = play([work(f"w{n}", 10, load=1.0) for n in range(6)], 2.0)
    first, second = sorted(run.doing)
    for _ in range(3):
        run.tell(Finished(first), after=10)
    assert first in run.doing, "the second one's next work"
    assert len(run.doing) == 2
    run.finish_all()
    assert [g.worker for g in run.given].count(second) == 2


def test_work_of_a_dead_worker_goes_to_another_node_up_to_a_limit() -> None:
    run = play([work("w")], 1.0, 1.0)
    places = []
    for _ in range(3):
        (worker,) = run.doing
        places.append(run.open[worker][0])
        run.tell(Died(worker, "of the disk"))
    assert places[0] != places[1]
    assert [g.last for g in run.given] == [False, False, True]
    assert run.given_up == ["w0"]
    assert run.reasons == ["its worker was lost 3 times, last because of the disk"]
    assert run.schedule.over


def test_one_deadly_unit_costs_the_others_nothing_but_time() -> None:
    run = play([work("w", units=8)], 2.0)
    while not run.schedule.over:
        worker, doing = next(iter(run.doing.items()))
        deadly = "w5" in doing.units
        run.tell(Died(worker, "memory") if deadly else Finished(worker), after=1)
    assert run.given_up == ["w5"]
    assert sorted(run.done) == [f"w{n}" for n in range(8) if n != 5]


def test_units_to_be_tried_again_get_a_new_worker() -> None:
    run = play([work("w", units=3)], 1.0)
    run.tell(Finished(1, again=(0, 2)))
    assert 1 not in run.open
    ((worker, again),) = run.doing.items()
    assert again.units == ("w0", "w2")
    assert run.given[-1].last
    run.tell(Finished(worker))
    assert sorted(run.done) == ["w0", "w1", "w2"]


def test_a_worker_beyond_its_limit_counts_as_dead() -> None:
    run = play([work("w", limit=30.0)], 1.0)
    run.tell(Tick(), after=29)
    assert list(run.doing) == [1]
    run.tell(Tick(), after=2)
    assert list(run.doing) == [2]
    run.tell(Tick(), after=31)
    run.tell(Tick(), after=31)
    assert "longer than 30 s, its limit" in run.reasons[0]


def test_a_straggler_is_cut_for_idle_capacity_where_that_saves_enough() -> None:
    rules = Rules(min_split_saving_s=100.0)
    for cost, cut in ((1000.0, True), (50.0, False)):
        works = [work("slow", cost, units=4), *(work(f"w{n}", cost) for n in range(3))]
        run = play(works, 4.0, rules=rules)
        for worker in [w for w, doing in run.doing.items() if doing.id != "slow"]:
            run.tell(Finished(worker), after=cost / 3)
        # The others took two thirds of what was expected, so three times that is twice the cost.
        run.tell(Tick(), after=0.9 * cost)
        assert len(run.doing) == 1, "not yet three times what was expected"
        run.tell(Tick(), after=0.2 * cost)
        assert (len(run.doing) > 1) is cut
        run.finish_all()
        assert Counter(run.done)["slow0"] == 1


def test_nothing_is_cut_where_little_is_saved() -> None:
    """What is computed together decides the last bits, so groups stay whole in short runs."""
    run = play([work("w", 60.0, units=4), work("v", 60.0)], 4.0)
    (busy,) = [w for w, doing in run.doing.items() if doing.id == "w"]
    (other,) = [w for w, doing in run.doing.items() if doing.id == "v"]
    run.tell(Finished(other), after=60)
    run.tell(Died(busy, "late"), after=59)
    assert [doing.id for doing in run.doing.values()] == ["w"]


def test_a_node_where_nothing_starts_rests() -> None:
    """Its work waits for another node, or for it, and is not counted as having been tried."""
    rules = Rules(starts=3, node_cooldown_s=10.0)
    run = play([work("w")], 1.0, rules=rules)
    run.tell(Died(1, "no such node", ran=False))
    assert not run.doing
    run.tell(Tick(), after=9)
    assert not run.doing
    run.tell(Tick(), after=2)
    assert not run.given[-1].last
    run.tell(NodeLost("n0"), NodeJoined("n9", 1.0))
    ((worker, _),) = run.doing.items()
    assert run.open[worker][0] == "n9"
    run.finish_all()
    assert run.done == ["w0"]


def test_starting_in_vain_ends_too() -> None:
    rules = Rules(starts=3, node_cooldown_s=10.0)
    run = play([work("w")], 1.0, rules=rules)
    for _ in range(8):
        for worker in list(run.doing):
            run.tell(Died(worker, "no memory", ran=False))
        run.tell(Tick(), after=11)
    assert run.schedule.over
    assert run.reasons == ["no worker could be started for it 4 times: no memory"]


def test_work_that_no_node_has_room_for() -> None:
    """It waits for such a node, and is given up in the end; the rest goes on."""
    run = play([work("big", size=8.0), work("small")], 4.0)
    run.tell(Finished(1), after=1)
    run.tell(Tick(), after=500)
    assert not run.schedule.over
    run.tell(NodeJoined("large", 8.0), after=1)
    run.finish_all()
    assert sorted(run.done) == ["big0", "small0"]
    run = play([work("big", size=8.0), work("small")], 4.0)
    run.tell(Finished(1), after=1)
    run.tell(Tick(), after=601)
    assert run.reasons == ["it needs 8 of a node, and the largest has 4"]
    assert run.schedule.over


def test_scheduling_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, steereval.ray_jobs.simulate; "
        "assert not {'ray', 'torch', 'lm_eval'} & set(sys.modules), 'too much'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_work_that_took_no_time_says_nothing_of_a_rate() -> None:
    """A node that joins afterwards is planned for as before."""
    run = play([work(f"w{n}") for n in range(3)], 1.0)
    run.tell(Finished(1))
    run.tell(NodeJoined("late", 1.0))
    run.finish_all()
    assert sorted(run.done) == ["w00", "w10", "w20"]


def test_a_time_too_short_for_a_rate_is_none() -> None:
    pace = Pace()
    pace.add(5e-324, 10.0)
    assert pace.seconds(1.0) == 1.0
