"""What a run hears of its cells, counted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_grid import small_grid

from steereval.common.activity import ANSWERING, LOADING, Activity
from steereval.common.errors import CellError, StoreError
from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.attempt import GroupResult
from steereval.harness.run.progress import JsonLines, Lines
from steereval.harness.run.tracker import Tracker
from steereval.ray_jobs.work import Outcome
from steereval.results.store import progress
from steereval.results.store.lease import driving
from steereval.results.store.progress import read_progress
from steereval.results.store.run_folder import RunFolder


class Shown:
    """Remembers what it was to show."""

    def __init__(self) -> None:
        self.seen: list[tuple[progress.Progress, str | None]] = []

    def show(self, now: progress.Progress, ended: str | None = None) -> None:
        self.seen.append((now, ended))

    def note(self, text: str) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def cells(**changes: Any) -> tuple[Cell, ...]:
    return tuple(make_plan(parse_grid(small_grid("m", **changes))))


def tracker(store: RunFolder, planned: int, lease: str, before: frozenset[str]) -> Tracker:
    return Tracker(store, planned, before, {}, Shown(), lease)


def test_cells_of_two_sample_seeds_fail_as_two(store: RunFolder) -> None:
    """They share a name."""
    sampled = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 4}
    tasks = [{"name": "truthful_mini_gen", "limit": 2, "generation": sampled}]
    twice = cells(tasks=tasks, methods=["none"], seeds={"sample": [0, 1]})
    assert len(twice) == 2
    assert str(twice[0]) == str(twice[1])
    with driving(store.place) as lease:
        counter = tracker(store, 2, lease.id, frozenset())
        counter.ended(Outcome(twice, CellError("its worker was lost"), 0.0))
        assert len(counter.failures) == 2
        assert (counter.now().done, counter.now().failed, counter.now().waiting) == (
            0,
            2,
            0,
        )
        assert set(store.records()) == {cell.id for cell in twice}


def test_every_cell_is_counted_once(store: RunFolder) -> None:
    """Also one that was finished before and is answered again with its group."""
    all_cells = cells()
    old, new, other = all_cells[:3]
    counter = tracker(store, len(all_cells), "x", frozenset({old.id}))
    counter.began((old, new), "here")
    assert (counter.now().done, len(counter.now().running)) == (1, 2)
    assert counter.now().waiting == len(all_cells) - 2
    counter.ended(Outcome((old, new), None, 2.0, GroupResult({new.id: "no"}, 7)))
    assert (counter.now().done, counter.now().failed, counter.now().tokens) == (1, 1, 7)
    counter.ended(Outcome((other,), None, 1.0, GroupResult({}, 3)))
    assert (counter.now().done, counter.now().failed, counter.now().tokens) == (
        2,
        1,
        10,
    )
    counter.stop("ended")
    progress = read_progress(store.place)
    assert progress is not None
    assert (progress.state, progress.done, progress.failed) == ("ended", 2, 1)


def test_a_driver_that_was_taken_for_dead_records_nothing(store: RunFolder) -> None:
    """What the new one has stored would be replaced by a failure."""
    with driving(store.place):
        counter = tracker(store, 1, "of another driver", frozenset())
        with pytest.raises(StoreError, match="no longer run by the driver"):
            counter.ended(Outcome(cells()[:1], CellError("lost"), 0.0))
        assert store.records() == {}


@dataclass
class Seconds:
    """A clock that is set by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def followed(store: RunFolder, clock: Seconds, speed: float | None, shown: Any) -> Tracker:
    """Two groups of 100 * 10^12 operations."""
    weights = {cell.id: 50.0 for cell in cells()[:4]}
    return Tracker(store, 4, frozenset(), weights, shown, "x", speed, clock)


def test_progress_counts_operations_inside_a_group(store: RunFolder) -> None:
    clock = Seconds()
    counter = followed(store, clock, None, Shown())
    first, second = cells()[:2], cells()[2:4]
    counter.began(tuple(first), "here")
    assert (counter.now().share, counter.now().remaining) == (0.0, None)
    clock.now = 60.0
    counter.advanced(tuple(first), Activity(LOADING, 0.0))
    assert counter.now().remaining is None, "loading says nothing of the speed"
    for second_passed in range(1, 11):
        clock.now = 60.0 + second_passed
        counter.advanced(tuple(first), Activity(ANSWERING, second_passed * 5e12))
    assert counter.now().share == pytest.approx(0.25)
    assert counter.now().remaining == pytest.approx(30.0)
    assert counter.now().phases == (ANSWERING,)
    counter.advanced(tuple(first), Activity(ANSWERING, 500e12))
    assert counter.now().share is not None
    assert counter.now().share < 0.5, "a running group is not complete"
    clock.now = 80.0
    counter.ended(Outcome(tuple(first), None, 20.0, GroupResult({}, 7)))
    assert counter.now().share == 0.5
    counter.began(tuple(second), "here")
    assert counter.now().remaining == pytest.approx(20.0)


@pytest.mark.slow
def test_the_time_left_begins_with_the_expected_speed(store: RunFolder) -> None:
    clock = Seconds()
    counter = followed(store, clock, 2.0, Shown())
    counter.began(tuple(cells()[:2]), "here")
    assert counter.now().remaining == pytest.approx(100.0)
    estimates = []
    for seconds in range(1, 40):
        clock.now = seconds
        counter.advanced(tuple(cells()[:2]), Activity(ANSWERING, seconds * 1e12))
        estimates.append(counter.now().remaining or 0.0)
    jumps = [after / before for before, after in itertools.pairwise(estimates)]
    assert max(jumps) < 1.1
    assert min(jumps) > 0.9


def test_two_workers_take_half_the_time(store: RunFolder) -> None:
    clock = Seconds()
    counter = followed(store, clock, 1.0, Shown())
    counter.began(tuple(cells()[:2]), "a")
    one = counter.now().remaining
    counter.began(tuple(cells()[2:4]), "b")
    assert counter.now().remaining == pytest.approx((one or 0.0) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("form", [Lines, JsonLines])
def test_nothing_is_silent_for_long(
    store: RunFolder, capsys: pytest.CaptureFixture[str], form: Any
) -> None:
    clock = Seconds()
    counter = followed(store, clock, None, form(clock))
    counter.began(tuple(cells()[:2]), "here")
    spoken, counts = 0.0, []
    capsys.readouterr()
    for seconds in range(1, 120):
        clock.now = seconds
        counter.advanced(tuple(cells()[:2]), Activity(ANSWERING, seconds * 1e11))
        lines = capsys.readouterr().err.splitlines()
        counts.append(len(lines))
        if lines:
            assert seconds - spoken <= 15
            spoken = seconds
    assert 119 - spoken <= 15
    assert sum(counts) <= 13, "a log has few lines"
