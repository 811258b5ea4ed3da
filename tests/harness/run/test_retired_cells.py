"""A grid that loses cells: no reader counts them, and they are used again when asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from steereval.harness.cli.main import main
from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.driver import run_grid
from steereval.harness.run.worker import CellWorker
from steereval.ray_jobs.work import Done
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report import build_report
from steereval.results.report.writers.dataset import write_dataset
from steereval.results.store.archive import write_archive
from steereval.results.store.query import query
from steereval.results.store.retired import count_retired
from steereval.results.store.run_folder import RunFolder

pytestmark = pytest.mark.slow


def data(model: str, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "small",
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
        "methods": ["none", {"name": "caa", "strengths": [1, 4]}],
        "tasks": [{"name": "truthful_mini_mc", "limit": 8}],
        "seeds": {"fit": [0]},
    }
    return given | changes


def run(out: Path, model: str, **changes: Any) -> list[str]:
    """Run the grid into `out`; what the log says."""
    said: list[str] = []
    assert run_grid(parse_grid(data(model, **changes)), out, None, said.append).failed == ()
    return said


def planned(model: str, **changes: Any) -> set[str]:
    return {cell.id for cell in make_plan(parse_grid(data(model, **changes)))}


def strengths(analysis: Analysis, method: str) -> set[float]:
    return {s for row in analysis.rows if row.arm.method == method for s in row.strengths.values()}


def raw(out: Path, what: str) -> list[tuple[Any, ...]]:
    """What anyone reads from the files themselves."""
    rows: list[tuple[Any, ...]] = duckdb.sql(
        f"select {what} from '{out}/cells/*.parquet' group by all order by all"
    ).fetchall()
    return rows


METHODS = [
    "none",
    {"name": "caa", "strengths": [1, 4]},
    {"name": "repe", "strengths": [1, 4]},
    {"name": "iti", "strengths": [1, 4]},
]


@pytest.fixture(scope="module")
def first(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven cells; not to be written to."""
    out = tmp_path_factory.mktemp("first") / "run"
    run(out, tiny_folder, methods=METHODS)
    build_report(RunFolder(out))
    return out


@pytest.fixture
def out(first: Path, tmp_path: Path) -> Path:
    shutil.copytree(first, tmp_path / "run")
    return tmp_path / "run"


def test_other_strengths_leave_the_statistics(
    out: Path, tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strengths [1, 4] become [2, 4]: three methods have six comparisons, not nine."""
    other = [m if isinstance(m, str) else m | {"strengths": [2, 4]} for m in METHODS]
    said = run(out, tiny_folder, methods=other)
    assert any("3 retired cells" in line and "caa T=1" in line for line in said)
    folder = RunFolder(out)
    analysis = analyse(folder)
    compared = [row for row in analysis.rows if row.is_primary and row.comparison]
    assert len(compared) == 6
    assert strengths(analysis, "caa") == {2.0, 4.0}
    assert (analysis.cells.planned, analysis.cells.done) == (7, 7)
    clean = tmp_path / "clean"
    run(clean, tiny_folder, methods=other)
    fresh = {row.name: row.p_adjusted for row in analyse(RunFolder(clean)).rows if row.is_primary}
    assert {row.name: row.p_adjusted for row in analysis.rows if row.is_primary} == fresh
    everyone_sees_the_run(folder, planned(tiny_folder, methods=other), tmp_path)
    ran: list[str] = []
    monkeypatch.setattr(CellWorker, "run", never(ran))
    run(out, tiny_folder, methods=METHODS)
    assert ran == []
    assert count_retired(folder) == 3
    everyone_sees_the_run(folder, planned(tiny_folder, methods=METHODS), tmp_path / "back")


def everyone_sees_the_run(folder: RunFolder, cells: set[str], room: Path) -> None:
    """Tables, exports, archive and the files themselves hold `cells` and no others."""
    room.mkdir(exist_ok=True)
    assert {cell for (cell,) in raw(folder.path, "cell_id")} == cells
    for view in ("rows", "responses", "cells"):
        answer = query(folder, f"select distinct cell_id from {view}")
        assert {cell for (cell,) in answer.rows} == cells
    write_dataset(folder, room / "dataset")
    (counts,) = duckdb.sql(f"select count(distinct cell_id) from '{room}/dataset/rows.parquet'"
                          ).fetchall()  # fmt: skip
    assert counts == (len(cells),)
    page = build_report(folder)
    lines = (page.parent / "items.jsonl").read_text().splitlines()
    assert {line.split('"')[3] for line in lines} == cells
    write_archive(folder, room / "run.zip")
    assert main(["verify", str(room / "run.zip")]) == 0
    shutil.unpack_archive(room / "run.zip", room / "unpacked")
    (unpacked,) = (room / "unpacked").iterdir()
    assert RunFolder(unpacked).stored() == cells
    assert count_retired(RunFolder(unpacked)) == 0
    assert main(["verify", str(folder.path)]) == 0


def never(ran: list[str]) -> Any:
    def run(self: CellWorker, group: Any, last: bool) -> Done:
        ran.extend(str(cell) for cell in group)
        raise AssertionError("a cell that is there was run again")

    return run


def test_a_method_that_is_dropped_chooses_no_strength(
    tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, select = tmp_path / "run", {"on": "validation", "metric": "mc2"}
    methods = ["none", {"name": "caa", "strengths": [1, 2, 4]}, {"name": "repe", "strengths": [3]}]
    run(out, tiny_folder, methods=methods, select=select)
    fewer = ["none", {"name": "caa", "strengths": [2, 4]}]
    run(out, tiny_folder, methods=fewer, select=select)
    analysis = analyse(RunFolder(out))
    assert (analysis.cells.planned, analysis.cells.done) == (3, 3)
    assert strengths(analysis, "caa") <= {2.0, 4.0}
    assert {row.arm.method for row in analysis.rows} == {"none", "caa"}
    assert main(["status", str(out)]) == 0
    assert "2 retired cells" in capsys.readouterr().out


def test_a_raised_limit_counts_the_new_items_alone(tiny_folder: str, tmp_path: Path) -> None:
    out, small = tmp_path / "run", {"name": "truthful_mini_gen", "limit": 2}
    few = [{"name": "truthful_mini_mc", "limit": 10}, small]
    more = [{"name": "truthful_mini_mc", "limit": 16}, small]
    run(out, tiny_folder, methods=["none"], tasks=few)
    run(out, tiny_folder, methods=["none"], tasks=more)
    sql = "select count(*) from rows where task = 'truthful_mini_mc' and metric = 'mc2'"
    assert list(query(RunFolder(out), sql).rows) == [(16,)]
    assert ("truthful_mini_mc", "mc2", 16) in raw(out, "task, metric, count(*)")
    build_report(RunFolder(out))


def test_a_grid_that_comes_back_is_accepted(tiny_folder: str, tmp_path: Path) -> None:
    """Also where all of its cells are set apart."""
    out = tmp_path / "run"
    for methods, baseline, before in (
        (["none", {"name": "caa", "strengths": [1]}], "none", 0),
        ([{"name": "caa", "strengths": [1, 2]}], "caa", 1),
        (["none"], "none", 1),
    ):
        grid = parse_grid(data(tiny_folder, methods=methods, analysis={"baseline": baseline}))
        summary = run_grid(grid, out, None, lambda line: None)
        assert (summary.failed, summary.reused) == ((), before)
    assert RunFolder(out).stored() == planned(tiny_folder, methods=["none"])
