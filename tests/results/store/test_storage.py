"""Run folders here and in object stores: the same files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.common.errors import InputError, StoreError
from steereval.results.report import build_report, publish_report
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage, Storage, storage_of


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3-compatible server; the bucket is `bucket`."""
    moto = pytest.importorskip("moto.server")
    environment = dict(os.environ)
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    import boto3

    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket="bucket")
    yield f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    running.stop()
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(params=["local", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "run")
    if request.param == "memory":
        return f"memory://{tmp_path.name}/run"
    return f"s3://bucket/{tmp_path.name}/run?{request.getfixturevalue('server')}"


@pytest.fixture
def place(location: str) -> Storage:
    result = storage_of(location)
    result.make("")
    result.make("part")
    return result


def test_what_is_written_is_read(place: Storage) -> None:
    assert place.read("part/a") is None
    place.write("part/a", b"one")
    place.write("part/a", b"other")
    place.write("top", b"")
    assert place.read("part/a") == b"other"
    assert place.read("top") == b""
    assert place.sizes("part") == {"a": 5}
    assert place.sizes("") == {"top": 0}
    assert place.sizes("nowhere") == {}


def test_what_is_removed_is_gone(place: Storage) -> None:
    place.write("part/a", b"one")
    place.remove("part/a")
    place.remove("part/a")
    assert place.read("part/a") is None
    assert place.sizes("part") == {}


def test_another_process_finds_it_by_its_location(place: Storage) -> None:
    place.write("a", b"one")
    assert storage_of(place.location).read("a") == b"one"
    assert place.at("a").startswith(str(place))
    assert "?" not in str(place)


RUN = FakeRun(methods=(FakeMethod("caa"),), tasks=(FakeTask("truth", n_validation=3, n_test=9),))


@pytest.mark.slow
def test_a_run_folder_and_its_report(location: str, tmp_path: Path) -> None:
    """The same bytes as those of a local one."""
    write_run(RUN, location)
    write_run(RUN, tmp_path / "other")
    result, same = RunFolder(location), RunFolder(tmp_path / "other")
    assert result.exists()
    assert result.finished() == same.finished() != set()
    assert result.read_items().equals(same.read_items())
    assert result.read_responses().equals(same.read_responses())
    page = publish_report(result).page
    assert page == result.place.at("report/index.html")
    built = build_report(same)
    for name in ("index.html", "report.md", "leaderboard.csv", "items.jsonl"):
        assert result.place.read(f"report/{name}") == (built.parent / name).read_bytes()
    assert result.place.sizes("report/figures").keys() == {
        path.name for path in (built.parent / "figures").iterdir()
    }


def test_a_remote_folder_has_no_path() -> None:
    with pytest.raises(StoreError, match="memory://somewhere is not on this machine"):
        _ = RunFolder("memory://somewhere").path


def test_a_kind_of_place_that_is_unknown() -> None:
    with pytest.raises(InputError, match="nosuch://x is on no file system"):
        storage_of("nosuch://x")


def test_options_that_a_store_does_not_know() -> None:
    with pytest.raises(InputError, match="nosuch"):
        storage_of("s3://bucket/run?nosuch=1")


@pytest.mark.slow
def test_a_server_that_does_not_answer() -> None:
    place = storage_of("s3://bucket/run?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1")
    with pytest.raises(StoreError, match="s3://bucket/run/a cannot be"):
        place.write("a", b"one")


def test_half_written_files_are_not_seen_and_swept(tmp_path: Path) -> None:
    place = LocalStorage(tmp_path)
    (tmp_path / ".tmp-1-a").write_bytes(b"half")
    assert place.sizes("") == {}
    place.sweep("")
    assert list(tmp_path.iterdir()) == []
