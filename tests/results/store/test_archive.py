"""A run as one file: reproducible, checkable elsewhere, and unpacked nowhere but in its folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.common.errors import InputError, StoreError
from steereval.results.report import build_report, report_reader
from steereval.results.store.archive import CHECKSUMS, INSTRUCTIONS, write_archive
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.unpack import unpack
from steereval.results.verification import verify_tables

RUN = FakeRun(
    (FakeMethod("helps", (1.0,), lambda task, strength: 0.3),),
    (FakeTask("truth", n_validation=10, n_test=30),),
    fit_seeds=(0, 1),
)
ENDINGS = (".tar.gz", ".zip")

each_ending = pytest.mark.parametrize("ending", ENDINGS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(RUN, tmp_path_factory.mktemp("whole") / "run")
    build_report(run)
    return run


def wrong(folder: Path) -> list[str]:
    run = RunFolder(folder)
    return [str(f) for f in verify_tables(run, report_reader(run), True)]


def packed(run: RunFolder, path: Path) -> Path:
    write_archive(run, path)
    return path


@each_ending
def test_there_and_back(run: RunFolder, tmp_path: Path, ending: str) -> None:
    unpack(packed(run, tmp_path / f"a{ending}"), tmp_path / "back")
    before = dict(run.files())
    after = dict(RunFolder(tmp_path / "back").files())
    assert after.keys() - before.keys() == {CHECKSUMS, INSTRUCTIONS}
    assert {name: after[name] for name in before} == before
    assert wrong(tmp_path / "back") == []


@each_ending
def test_the_same_run_gives_the_same_bytes(run: RunFolder, tmp_path: Path, ending: str) -> None:
    """At any time, from any copy, under any name; and so does what was unpacked."""
    first = packed(run, tmp_path / f"first{ending}").read_bytes()
    shutil.copytree(run.path, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert packed(RunFolder(tmp_path / "copy"), tmp_path / f"second{ending}").read_bytes() == first
    unpack(tmp_path / f"first{ending}", tmp_path / "back")
    assert packed(RunFolder(tmp_path / "back"), tmp_path / f"third{ending}").read_bytes() == first


def test_other_programs_unpack_and_check_it(run: RunFolder, tmp_path: Path) -> None:
    archive = packed(run, tmp_path / "a.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "there", filter="data")
    folder = tmp_path / "there" / "fake-run"
    for line in (folder / CHECKSUMS).read_text().splitlines():
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    if shutil.which("sha256sum"):
        done = subprocess.run(
            ["sha256sum", "--check", "--quiet", CHECKSUMS], cwd=folder, check=False
        )
        assert done.returncode == 0
    shutil.unpack_archive(packed(run, tmp_path / "a.zip"), tmp_path / "zipped")
    assert wrong(tmp_path / "zipped" / "fake-run") == []


def test_the_instructions_name_versions_and_commands(run: RunFolder, tmp_path: Path) -> None:
    unpack(packed(run, tmp_path / "a.zip"), tmp_path / "back")
    text = (tmp_path / "back" / INSTRUCTIONS).read_text()
    for part in ("fake-run", "steereval verify .", '"pyarrow==', "--cells", "sha256sum --check"):
        assert part in text
    assert "steereval==" not in text, "there is no release in a package index"
    assert not re.search(r"==[^\"]*\+", text), "a local version that no index lists"


def test_files_of_an_unpacked_archive_are_held_to_the_list(run: RunFolder, tmp_path: Path) -> None:
    unpack(packed(run, tmp_path / "a.zip"), tmp_path / "back")
    report = tmp_path / "back" / "report"
    (report / "report.md").write_text("Everything is better.")
    (report / "index.html").unlink()
    (report / "new.txt").write_text("")
    assert wrong(tmp_path / "back") == [
        f"wrong: report/index.html: {CHECKSUMS} lists it, and it is missing",
        f"wrong: report/report.md: its SHA-256 is not the one in {CHECKSUMS}",
        f"wrong: report/new.txt: {CHECKSUMS} does not list it",
    ]


def test_names_that_are_not_archives(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.rar is not named as an archive"):
        write_archive(run, tmp_path / "a.rar")
    packed(run, tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"a\.zip exists already"):
        write_archive(run, tmp_path / "a.zip")
    with pytest.raises(StoreError, match="not a run folder"):
        write_archive(RunFolder(tmp_path), tmp_path / "b.zip")


@each_ending
def test_an_archive_appears_whole_or_not(
    run: RunFolder, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list(run.files())

    def failing(*_: object) -> object:
        yield from files[:3]
        raise StoreError("the disk is gone")

    monkeypatch.setattr(run, "files", failing)
    with pytest.raises(StoreError, match="the disk is gone"):
        write_archive(run, tmp_path / f"a{ending}")
    assert list(tmp_path.iterdir()) == []


def tar_with(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        good = tarfile.TarInfo("run/manifest.json")
        good.size = 2
        archive.addfile(good, io.BytesIO(b"{}"))
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size) if entry.isreg() else None)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    made.size = 1 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    "bad",
    [
        entry("/tmp/evil"),
        entry("../evil"),
        entry("run/../../evil"),
        entry("run\\..\\..\\evil"),
        entry("evil"),
        entry("other/evil"),
        entry("run/manifest.json"),
        entry("run/./manifest.json"),
        entry("run/link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("run/hard", tarfile.LNKTYPE, "run/manifest.json"),
        entry("run/device", tarfile.CHRTYPE),
        entry("run/pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda bad: f"{bad.name} {bad.type!r}",
)
def test_nothing_leads_out_of_the_folder(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    archive = tar_with(tmp_path / "a.tar.gz", bad)
    with pytest.raises(StoreError, match="is not an archive of a run"):
        unpack(archive, tmp_path / "inner" / "run")
    assert not (tmp_path / "inner" / "run").exists()
    assert not any((tmp_path / "inner").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "inner"]


def test_folders_in_a_tar_are_accepted(tmp_path: Path) -> None:
    archive = tar_with(tmp_path / "a.tar.gz", entry("run/cells", tarfile.DIRTYPE))
    unpack(archive, tmp_path / "run")
    assert (tmp_path / "run" / "manifest.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["../evil", "/evil", "run/../../evil", "evil"])
def test_nothing_leads_out_of_a_zip(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("run/manifest.json", "{}")
        archive.writestr(name, "x")
    with pytest.raises(StoreError, match="is not an archive of a run"):
        unpack(tmp_path / "a.zip", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("run/link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(StoreError, match="is not a plain file"):
        unpack(tmp_path / "a.zip", tmp_path / "run")


def tar_of(*entries: tuple[str, dict[str, str]]) -> bytes:
    """A .tar.gz of small files, each with headers of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, headers in entries:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 1, headers
            archive.addfile(info, io.BytesIO(b"x"))
    return out.getvalue()


HOLES = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(10**13), "GNU.sparse.name": "run/b"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: tar_of(("run/a", {"comment": "x" * (80 << 20)})), "expands"),
        (lambda: tar_of(("run/a", {})) + gzip.compress(bytes(80 << 20)), "expands"),
        (lambda: tar_of(("run/a", HOLES)), "not a plain file"),
        (lambda: tar_of(("run/manifest.json", {}), ("run/Manifest.json", {})), "twice"),
        (lambda: tar_of(("run/caf\u00e9", {}), ("run/cafe\u0301", {})), "twice"),
        (lambda: tar_of(("run/\x1b[2J", {})), "printed"),
    ],
    ids=["header", "trailer", "holes", "case", "composition", "control"],
)
def test_an_archive_that_misleads_is_refused(
    tmp_path: Path, data: Callable[[], bytes], words: str
) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data())
    with pytest.raises(StoreError, match=words):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def changed(data: bytes) -> bytes:
    middle = len(data) // 2
    return (
        data[:middle]
        + bytes(255 - byte for byte in data[middle : middle + 99])
        + data[middle + 99 :]
    )


@each_ending
@pytest.mark.parametrize("damage", [cut_off, changed, lambda data: b"", lambda data: b"PK text"])
def test_a_damaged_archive_leaves_nothing(
    run: RunFolder, tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]
) -> None:
    archive = packed(run, tmp_path / f"a{ending}")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(StoreError, match="archive"):
        unpack(archive, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_folder_that_is_there_is_left_alone(run: RunFolder, tmp_path: Path) -> None:
    archive = packed(run, tmp_path / "a.zip")
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="exists already"):
        unpack(archive, tmp_path / "run")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(StoreError, match="it is empty"):
        unpack(tmp_path / "empty.zip", tmp_path / "new")


def test_only_files_of_the_run_are_archived(run: RunFolder, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    (tmp_path / "secret.json").write_text("secret")
    for name in ("notes.txt", "token.json", "cells/notes.txt", "report/private.md", ".env"):
        (folder / name).write_text("secret")
    (folder / "cells" / "0000000000000000.json").symlink_to(tmp_path / "secret.json")
    (folder / "report" / "figures" / "linked.svg").symlink_to(tmp_path / "secret.json")
    packed(run, tmp_path / "a.zip")
    packed(RunFolder(folder), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
