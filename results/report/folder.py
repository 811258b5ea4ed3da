"""A folder that is written whole: beside the old one, then put in its place."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from steereval.errors import StoreError
from steereval.results.atomic import naming, sync_folder, temporary_sibling

MARKER = "index.html"
"""A folder that holds it was written by this program and may be replaced."""


@contextlib.contextmanager
def replaced_whole(folder: Path, marker: str | None = MARKER) -> Iterator[Path]:
    """A temporary sibling to write into, which takes the place of `folder` if nothing fails.

    A folder that is neither empty nor holds `marker` is never replaced: StoreError.
    """
    folder = folder.absolute()
    _check_replaceable(folder, marker)
    fresh = temporary_sibling(folder)
    with naming(folder):
        fresh.mkdir(parents=True)
        try:
            yield fresh
            _swap(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, folder: Path) -> None:
    if folder.exists():
        old = temporary_sibling(folder)
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)
    sync_folder(folder.parent)


def _check_replaceable(folder: Path, marker: str | None) -> None:
    if not folder.exists():
        return
    is_own = folder.is_dir() and marker is not None and (folder / marker).exists()
    if not folder.is_dir() or (any(folder.iterdir()) and not is_own):
        raise StoreError(
            f"{folder} is in the way: it is not a report", "Name a folder that does not exist yet."
        )
