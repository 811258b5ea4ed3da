"""Files and queries that would take far more than they are: refused before they do."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.common.errors import GridError, InputError, StoreError
from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.plan import MOST_CELLS, make_plan
from steereval.results.store import query as querying
from steereval.results.store.parquet import parse
from steereval.results.store.query import query
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA
from steereval.results.store.unpack import unpack


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    methods = (FakeMethod("helps", (1.0,), lambda task, strength: 0.3),)
    return write_run(FakeRun(methods, (FakeTask("truth"),)), tmp_path_factory.mktemp("run") / "r")


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
@pytest.mark.parametrize("parts", [1, 8])
def test_an_archive_that_expands_far(tmp_path: Path, ending: str, parts: int) -> None:
    path, size = tmp_path / f"a{ending}", 128 << 20
    content = bytes(size // parts)
    if ending == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(parts):
                archive.writestr(f"run/{number}.json", content)
    else:
        with tarfile.open(path, "w:gz") as packed:
            for number in range(parts):
                entry = tarfile.TarInfo(f"run/{number}.json")
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
    assert path.stat().st_size < 200_000
    with pytest.raises(StoreError, match="expands to more than"):
        unpack(path, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_table_of_more_rows_than_its_file_can_hold() -> None:
    table = pa.table({"a": pa.array([0], pa.int8()).take(pa.array([0] * 3_000_000))})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    with pytest.raises(StoreError, match="claims 3000000 rows"):
        parse("a.parquet", sink.getvalue()[:], ITEM_SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "with recursive a as (select 1 as n union all select n + 1 from a) select max(n) from a",
        "select count(*) from range(1000000000) a, range(1000000) b where a.range % 7 = b.range",
    ],
)
def test_a_query_without_an_end(run: RunFolder, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr(querying, "MOST_SECONDS", 0.3)
    with pytest.raises(InputError, match=r"ended after 0\.3 seconds"):
        list(query(run, sql).rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": {"fit": list(range(100_000))}},
        {"models": [{"name": "m", "layers": list(range(60_000))}]},
        {"methods": ["none", {"name": "caa", "strengths": list(range(1, 110_000))}]},
    ],
)
def test_a_grid_of_too_many_cells(changes: dict[str, object]) -> None:
    grid = {
        "name": "g",
        "models": [{"name": "m", "layers": [1]}],
        "contrast": {"name": "truthful-mini", "fraction": 0.5},
        "methods": ["none", {"name": "caa", "strengths": [1, 2]}],
        "tasks": ["truthful_mini_mc"],
    }
    with pytest.raises(GridError, match=str(MOST_CELLS)):
        make_plan(parse_grid(grid | changes))
