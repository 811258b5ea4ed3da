"""Cells that leave a run and come back: nothing is lost and nothing counted wrong, at any kill."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, cells_of, facts, manifest_of, write_run
from killed import Killed, killed_at

from steereval.common.errors import StoreError
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import report_reader
from steereval.results.store.archive import write_archive
from steereval.results.store.cell_table import cell_table
from steereval.results.store.manifest import Manifest
from steereval.results.store.profiles import Profile, read_profiles, write_profile
from steereval.results.store.query import query
from steereval.results.store.retired import at_hand, count_retired, describe_retired, replan, settle
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import RESPONSE_SCHEMA
from steereval.results.verification import verify_tables

TASK = FakeTask("truth", n_validation=2, n_test=6)


def design(*strengths: float) -> FakeRun:
    return FakeRun((FakeMethod("helps", strengths),), (TASK,), fit_seeds=(0,), select=None)


BEFORE, AFTER = design(1.0, 4.0), design(2.0, 4.0)
BOTH = design(1.0, 2.0, 4.0)


def ids(run: FakeRun) -> set[str]:
    return {cell["cell_id"] for cell in cells_of(run)}


def manifest(run: FakeRun) -> Manifest:
    return manifest_of(run, list(cells_of(run)))


def raw(run: RunFolder) -> set[str]:
    """The cells that a reader of cells/*.parquet counts."""
    names = run.place.sizes("cells")
    return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}


def held(run: RunFolder) -> set[str]:
    return set(at_hand(run, ids(BOTH)).finished)


@pytest.fixture(params=["local", "store"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "run") if request.param == "local" else f"memory://{uuid4().hex}"


@pytest.mark.parametrize("midway", [False, True])
def test_a_kill_at_any_moment_loses_nothing_and_counts_nothing_wrong(
    where: str, midway: bool
) -> None:
    """Strengths [1, 4] become [2, 4] and later [1, 4] again."""
    run = RunFolder(where)
    write_run(BEFORE, where)  # type: ignore[arg-type]
    there = ids(BEFORE)
    for changes in itertools.count():
        replan(run, manifest(BEFORE))
        try:
            with killed_at(changes, midway):
                replan(run, manifest(AFTER))
        except Killed:
            members = set(run.read_manifest().members)
            assert raw(run) <= members
            assert set(run.records()) <= members
            assert analyse(run).cells.planned == len(members)
            settle(run)
            assert held(run) == there
            assert run.finished() == there & members
            continue
        break
    assert changes >= 4
    assert run.finished() == raw(run) == there & ids(AFTER)
    assert count_retired(run) == 1
    replan(run, manifest(BEFORE))
    assert run.finished() == raw(run) == there
    assert count_retired(run) == 0
    assert describe_retired(run) == ""


def test_no_reader_counts_what_the_manifest_lacks(tmp_path: Path) -> None:
    """Not even before the next start has set it apart, as in folders of older versions."""
    run = write_run(BOTH, tmp_path / "run")
    run.write_manifest(manifest(AFTER))
    clean = write_run(AFTER, tmp_path / "clean")
    assert run.read_items().equals(clean.read_items())
    assert run.read_responses().equals(clean.read_responses())
    assert [row.p_adjusted for row in analyse(run).rows] == [
        row.p_adjusted for row in analyse(clean).rows
    ]
    assert analyse(run).cells == analyse(clean).cells
    assert cell_table(run).num_rows == len(ids(AFTER))
    write_archive(run, tmp_path / "run.zip")
    write_archive(clean, tmp_path / "clean.zip")
    assert (tmp_path / "run.zip").read_bytes() == (tmp_path / "clean.zip").read_bytes()
    (finding,) = [f for f in verify_tables(run, report_reader(run), False) if f.is_wrong]
    assert finding.where == min(ids(BOTH) - ids(AFTER))


def test_the_files_themselves_are_the_run(tmp_path: Path) -> None:
    run = write_run(BOTH, tmp_path / "run")
    replan(run, manifest(AFTER))
    for folder in ("cells", "responses"):
        result = duckdb.sql(f"select distinct cell_id from '{run.path}/{folder}/*.parquet'")
        assert {cell for (cell,) in result.fetchall()} == ids(AFTER)
    notes = [f for f in verify_tables(run, report_reader(run), False) if f.where == "retired"]
    assert [f.is_wrong for f in notes] == [False]
    assert "1 retired cell of" in notes[0].what
    table = query(run, "select count(distinct strength) from rows where strength > 0")
    assert list(table.rows) == [(2,)]


def test_files_that_are_not_cells_stay_where_they_are(tmp_path: Path) -> None:
    run = write_run(BEFORE, tmp_path / "run")
    for name in ("notes.txt", ".DS_Store"):
        (run.path / "cells" / name).write_text("mine")
    replan(run, manifest(AFTER))
    assert (run.path / "cells" / "notes.txt").read_text() == "mine"
    assert (run.path / "cells" / ".DS_Store").exists()


def test_a_half_written_cell_leaves_too(tmp_path: Path) -> None:
    """Its driver was killed before the record."""
    run = write_run(BEFORE, tmp_path / "run")
    (lost,) = ids(BEFORE) - ids(AFTER)
    run.place.remove(f"cells/{lost}.json")
    replan(run, manifest(AFTER))
    assert lost not in raw(run)
    assert count_retired(run) == 0
    replan(run, manifest(BEFORE))
    assert lost not in run.finished()


def test_a_cell_that_was_computed_again_stands_over_the_one_set_apart(tmp_path: Path) -> None:
    run = write_run(BEFORE, tmp_path / "run")
    (cell,) = ids(BEFORE) - ids(AFTER)
    items, _ = run.read_cell(cell)
    replan(run, manifest(AFTER))
    run.write_cell(cell, items, RESPONSE_SCHEMA.empty_table(), facts(name="newer"))
    replan(run, manifest(BEFORE))
    assert run.read_record(cell).name == "newer"
    assert cell in run.finished()
    assert count_retired(run) == 0


def test_a_damaged_record_set_apart_does_not_stop_the_line_that_counts(tmp_path: Path) -> None:
    run = write_run(BEFORE, tmp_path / "run")
    replan(run, manifest(AFTER))
    (record,) = (run.path / "retired" / "cells").glob("*.json")
    record.write_text("{")
    assert record.stem in describe_retired(run)
    assert analyse(run).cells.done == 2


@pytest.mark.parametrize("cells", [None, "no list", [{}]])
def test_a_manifest_without_cells_is_named(tmp_path: Path, cells: Any) -> None:
    run = write_run(BEFORE, tmp_path / "run")
    text = json.dumps(manifest(BEFORE).plain() | {"cells": cells})
    (run.path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json: cells"):
        run.read_items()


def test_profiles_of_groups_without_a_cell_of_the_run_are_left_out(tmp_path: Path) -> None:
    run = write_run(BEFORE, tmp_path / "run")
    profile_of_run = Profile("a", "tiny", "truth", "14", 1, {"loading": 1.0}, (min(ids(BEFORE)),))
    for group, cells in (("a", profile_of_run.ids), ("b", ("gone",)), ("c", ())):
        profile = replace(profile_of_run, group=group, ids=cells)
        write_profile(run.place, profile)
    assert [p.group for p in read_profiles(run.place, run.members())] == ["a", "c"]
    assert len(read_profiles(run.place)) == 3


def test_a_cell_that_waits_to_come_back_is_reported_as_such(tmp_path: Path) -> None:
    """A driver was killed after it wrote the manifest."""
    run = write_run(BEFORE, tmp_path / "run")
    replan(run, manifest(AFTER))
    run.write_manifest(manifest(BEFORE))
    (finding,) = [f for f in verify_tables(run, report_reader(run), False) if f.is_wrong]
    assert "is still set apart" in finding.what
    settle(run)
    assert not [f for f in verify_tables(run, report_reader(run), False) if f.is_wrong]
