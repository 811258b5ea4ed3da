"""A file that is replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steereval.common.errors import StoreError
from steereval.common.files import replacing, write_bytes


@pytest.mark.parametrize("is_synced", [True, False])
def test_what_ends_well_takes_the_place(tmp_path: Path, is_synced: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path, is_synced) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyError

    with pytest.raises(KeyError), replacing(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=str(tmp_path)):
        write_bytes(tmp_path / "file", b"x")
    assert list(tmp_path.iterdir()) == []
