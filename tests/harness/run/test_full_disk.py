"""What writes on a full disk: nothing half written stays, and a cache is no reason to stop."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from small_grid import small_grid

from steereval.common import files
from steereval.common.errors import InputError, StoreError
from steereval.harness.config.grid import parse_grid
from steereval.harness.deploy import job_submission
from steereval.harness.engine import activations
from steereval.harness.engine.activations import read_activations, write_activations
from steereval.harness.judging.cache import JudgeCache
from steereval.models.artefacts import artefact
from steereval.models.artefacts.artefact import load_artefact, save_artefact
from steereval.models.vectors.files import written_whole
from steereval.results.report.writers.folder import replaced_whole
from steereval.results.store.unpack import unpack

STATES = {"layer.1": torch.arange(200_000, dtype=torch.float32)}
"""800 kB."""


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def as_safetensors_says_it(*_: object, **__: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_activations_that_do_not_fit_are_not_kept(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_disk / "activations"
    with caplog.at_level(logging.WARNING):
        for name in ("a", "b"):
            write_activations(folder / f"{name}.safetensors", STATES)
    assert left(small_disk) == []
    assert len(caplog.records) == 1
    assert str(folder) in caplog.text
    assert read_activations(folder / "a.safetensors") == {}
    few = {"layer.1": STATES["layer.1"][:100]}
    write_activations(folder / "c.safetensors", few)
    assert left(small_disk) == ["c.safetensors"]
    assert torch.equal(read_activations(folder / "c.safetensors")["layer.1"], few["layer.1"])


@pytest.mark.parametrize("failing", [no_space, as_safetensors_says_it])
@pytest.mark.parametrize("what", ["save_file", "replace", "mkdir"])
def test_a_cache_that_cannot_be_written_is_not_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    failing: Callable[..., None],
) -> None:
    target = activations if what == "save_file" else Path
    with monkeypatch.context() as patch:
        patch.setattr(target, what, failing)
        write_activations(tmp_path / "new" / "a.safetensors", STATES)
    assert left(tmp_path) == []
    assert len(caplog.records) == 1


def test_a_cache_whose_place_is_a_file_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "activations").write_text("mine")
    write_activations(tmp_path / "activations" / "a.safetensors", STATES)
    assert left(tmp_path) == ["activations"]


def test_judgements_that_cannot_be_kept_are_not_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("mine")
    cache = JudgeCache(tmp_path / "file" / "judgements.sqlite3")
    for _ in range(2):
        cache.keep("judge", {("question", "answer"): (1.0,)})
    assert len(caplog.records) == 1
    with pytest.raises(StoreError):
        cache.known("judge", [("question", "answer")])


def test_a_job_whose_id_cannot_be_kept_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    (tmp_path / "runs").write_text("in the way")
    (tmp_path / "grid.yaml").write_text("name: x")
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path))
    monkeypatch.setattr("steereval.harness.deploy.job_submission.package_folder", lambda: tmp_path)
    monkeypatch.setattr("steereval.ray_jobs.jobs.submit", lambda *given: started.append(given))
    grid = parse_grid(small_grid("m", contrast="truthful-mini"))
    with pytest.raises(StoreError, match="runs"):
        job_submission.submit(grid, tmp_path / "grid.yaml", "http://nowhere", "/out", [], {})
    assert started == []


def test_a_job_that_did_not_start_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise InputError("no Ray takes jobs", "Start one.")

    (tmp_path / "grid.yaml").write_text("name: x")
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("steereval.harness.deploy.job_submission.package_folder", lambda: tmp_path)
    monkeypatch.setattr("steereval.ray_jobs.jobs.submit", refused)
    grid = parse_grid(small_grid("m", contrast="truthful-mini"))
    with pytest.raises(InputError, match="no Ray"):
        job_submission.submit(grid, tmp_path / "grid.yaml", "http://nowhere", "/out", [], {})
    assert left(tmp_path / "cache") == []


def test_files_and_folders_that_do_not_fit_leave_nothing(small_disk: Path, tmp_path: Path) -> None:
    big = bytes(400_000)
    with pytest.raises(StoreError, match="No space"):
        files.write_bytes(small_disk / "a.json", big)
    with pytest.raises(StoreError, match="No space"), replaced_whole(small_disk / "report") as new:
        (new / "index.html").write_bytes(big)
    with pytest.raises(StoreError, match="No space"), written_whole(small_disk / "v.gguf") as new:
        new.write_bytes(big)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "big").write_bytes(os.urandom(400_000))
    shutil.make_archive(str(tmp_path / "run"), "zip", tmp_path, "run")
    with pytest.raises(StoreError, match="No space"):
        unpack(tmp_path / "run.zip", small_disk / "run")
    assert list(small_disk.iterdir()) == []


def test_a_report_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "index.html").write_text("old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if (self / "index.html").read_text() == "new":
            no_space()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StoreError, match="No space"), replaced_whole(folder) as fresh:
        (fresh / "index.html").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (folder / "index.html").read_text() == "old"


def test_a_steerer_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "steerer"
    save_artefact(artefact.Artefact({}, {"method": "old"}), folder)
    rename, left = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        if left and target == folder and self != left[0]:
            no_space()  # the new folder, after the old one has left
        if self == folder:
            left.append(Path(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StoreError, match="No space"):
        save_artefact(artefact.Artefact({}, {"method": "new"}), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["steerer"]
    assert load_artefact(folder).card["method"] == "old"
