"""A run folder that the version before wrote, and that was cut off before its last cell."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from steereval.harness.config.grid import parse_grid
from steereval.harness.run.driver import run_grid
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import build_report
from steereval.results.store.profiles import read_profiles
from steereval.results.store.progress import read_progress
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification.documents import check_documents

BEFORE = Path(__file__).parents[2] / "results" / "store" / "run_of_version_before"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(BEFORE, tmp_path / "run"))


def test_it_is_read_and_written_back_as_it_was(run: RunFolder) -> None:
    text = (run.path / "manifest.json").read_bytes()
    run.write_manifest(run.read_manifest())
    assert (run.path / "manifest.json").read_bytes() == text
    progress = read_progress(run.place)
    assert progress is not None
    assert (progress.done, progress.state) == (3, "ended")
    assert [profile.cells for profile in read_profiles(run.place)] == [3]
    assert list(check_documents(run)) == []


def test_it_is_reported(run: RunFolder) -> None:
    cells = analyse(run).cells
    assert (cells.planned, cells.done, cells.pending) == (3, 2, 1)
    assert build_report(run).is_file()


def scores(run: RunFolder) -> dict[tuple[str, str, str], float]:
    """{(cell, item, metric): value}."""
    rows = run.read_items().to_pylist()
    return {(row["cell_id"], row["item_id"], row["metric"]): row["value"] for row in rows}


@pytest.mark.real
def test_it_is_resumed(run: RunFolder) -> None:
    """The group that was cut off is answered again as a whole, and scores what it scored."""
    before = scores(run)
    summary = run_grid(parse_grid(run.read_manifest().grid), run.path, None, lambda _: None)
    assert (summary.planned, summary.reused, summary.failed) == (3, 2, ())
    assert len(run.finished()) == 3
    after = scores(run)
    assert {key: after[key] for key in before} == pytest.approx(before, abs=1e-4)
    assert len(after) == len(before) * 3 // 2
