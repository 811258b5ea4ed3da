"""Hashes of files are remembered, and never those of another content."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from steereval.common import hashing
from steereval.common.errors import InputError
from steereval.common.hashing import hashes_of, sha256_of


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, in which what has just been written is remembered too."""
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "SETTLED", 0.0)
    return tmp_path / "cache/file-hashes"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    result: list[Path] = []
    read = hashing.read_digest

    def counted(path: Path) -> str:
        result.append(path)
        return read(path)

    monkeypatch.setattr(hashing, "read_digest", counted)
    return result


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    """Also by way of a link, as in the hub's cache."""
    file, link = tmp_path / "weights", tmp_path / "link"
    file.write_bytes(b"one")
    link.symlink_to(file)
    assert [sha256_of(path) for path in (file, file, link)] == [sha(b"one")] * 3
    assert reads == [file]


def same_size(file: Path) -> None:
    times = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"two")
    other.replace(file)


@pytest.mark.parametrize("change", [same_size, replaced, lambda file: file.write_bytes(b"longer")])
def test_a_changed_file_is_read_again(tmp_path: Path, change: Callable[[Path], object]) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert sha256_of(file) == sha(b"one")
    time.sleep(0.05)  # the clock of a file system goes in steps
    change(file)
    assert sha256_of(file) == sha(file.read_bytes())


def test_what_has_just_changed_is_not_remembered(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within the same step of the clock would not show."""
    monkeypatch.setattr(hashing, "SETTLED", 3600.0)
    (tmp_path / "weights").write_bytes(b"one")
    assert sha256_of(tmp_path / "weights") == sha(b"one")
    assert not memory.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"path": 3}', b"\xff"])
def test_a_damaged_memory(tmp_path: Path, memory: Path, content: bytes) -> None:
    (tmp_path / "weights").write_bytes(b"one")
    sha256_of(tmp_path / "weights")
    (only,) = memory.iterdir()
    only.write_bytes(content)
    assert sha256_of(tmp_path / "weights") == sha(b"one")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(b"one")
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "weights"))
    assert sha256_of(tmp_path / "weights") == sha(b"one")


def test_a_file_that_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = tmp_path / "weights", hashing.read_digest
    file.write_bytes(b"one")

    def growing(path: Path) -> str:
        result = read(path)
        with path.open("ab") as more:
            more.write(b"x")
        return result

    monkeypatch.setattr(hashing, "read_digest", growing)
    with pytest.raises(InputError, match="changes while it is read"):
        sha256_of(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        hashes_of([tmp_path / "weights"])


def test_two_processes_at_once(tmp_path: Path, memory: Path) -> None:
    """Both know every hash, and what they leave is whole."""
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}").write_bytes(b"%d" % number)
    script = (
        "import sys; from pathlib import Path; from steereval.common import hashing as h; "
        "h.SETTLED = 0.0; files = sorted(Path(sys.argv[1]).iterdir()); "
        "print([f for _ in range(20) for f in h.hashes_of(files).values()])"
    )
    environment = os.environ | {"STEEREVAL_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script, str(folder)]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    wanted = str([sha(b"%d" % number) for number in range(8)] * 20)
    assert [each.communicate(timeout=60)[0].strip() for each in started] == [wanted] * 2
    assert len(list(memory.iterdir())) == 8
