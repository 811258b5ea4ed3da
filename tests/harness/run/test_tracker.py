"""What a run hears of its cells, counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_grid import small_grid

from steereval.common.errors import CellError, StoreError
from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.attempt import GroupResult
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
