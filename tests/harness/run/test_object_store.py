"""A run whose folder is a bucket: run, resumed, reported on and asked, never on this disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from small_grid import ordered, small_grid

from steereval.harness.cli.main import main
from steereval.results.store.retired import count_retired
from steereval.results.store.run_folder import RunFolder

pytestmark = pytest.mark.slow

FEW = {
    "tasks": [{"name": "truthful_mini_mc", "limit": 4}],
    "methods": ["none", {"name": "caa", "strengths": [1, 2]}],
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3-compatible server; what follows the folder's name in a URI."""
    moto = pytest.importorskip("moto.server")
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "x")
        server = moto.ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        boto3.client(
            "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1"
        ).create_bucket(Bucket="bucket")
        yield f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        server.stop()


@pytest.fixture
def grid(tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(yaml.safe_dump(small_grid(tiny_folder, **FEW)))
    return "grid.yaml"


@pytest.mark.chaos
def test_workers_in_processes_write_into_a_bucket(
    grid: str, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows of two are those of one on this disk."""
    uri = "s3://bucket/two" + bucket
    assert main(["run", grid, "--out", uri, "--workers", "2", "--no-report"]) == 0
    assert "9 of 9 cells are done" in capsys.readouterr().err
    assert main(["run", grid, "--out", "here", "--no-report"]) == 0
    keys = ("cell_id", "metric", "item_id")
    there, here = RunFolder(uri), RunFolder("here")
    assert ordered(there.read_items(), *keys) == ordered(here.read_items(), *keys)
    assert there.place.read("driver.json") is None
    assert {path.name for path in Path().iterdir()} == {"grid.yaml", "here"}


def test_a_run_in_a_bucket_is_resumed_reported_and_queried(
    grid: str, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = "s3://bucket/again" + bucket
    assert main(["run", grid, "--out", uri, "--no-report"]) == 0
    run = RunFolder(uri)
    lost = min(run.finished())
    for kind in (".json", ".parquet"):
        run.place.remove(f"cells/{lost}{kind}")
    capsys.readouterr()
    assert main(["run", grid, "--out", uri]) == 0
    captured = capsys.readouterr()
    assert "8 of 9 cells were finished before" in captured.err
    assert captured.out.splitlines()[-1] == "s3://bucket/again/report/index.html"
    page = run.place.read("report/index.html")
    assert page is not None
    assert b"</html>" in page
    assert main(["report", uri]) == 0
    capsys.readouterr()
    assert main(["query", uri, "select count(*) as n from rows", "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["n", str(9 * 4 * 2)]
    assert main(["status", uri]) == 0
    assert "9 of 9 cells done" in capsys.readouterr().out
    assert main(["verify", uri]) == 0


def test_cells_leave_a_run_in_a_bucket_and_come_back(
    grid: str, bucket: str, tiny_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An object store has no rename."""
    uri = "s3://bucket/retired" + bucket
    run = RunFolder(uri)
    fewer = small_grid(tiny_folder, **FEW | {"methods": ["none"]})
    Path("fewer.yaml").write_text(yaml.safe_dump(fewer))
    for file, cells, apart in ((grid, 9, 0), ("fewer.yaml", 1, 8), (grid, 9, 0)):
        assert main(["run", file, "--out", uri, "--no-report"]) == 0
        assert len(run.stored()) == len(run.finished()) == cells
        assert count_retired(run) == apart
    assert "9 of 9 cells were finished before" in capsys.readouterr().err
