"""A folder that is written as a whole next to the old one, which it then replaces."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from steereval.common.errors import StoreError
from steereval.common.files import naming, temporary_sibling
from steereval.common.folders import replace_folder
from steereval.results.store.storage import Storage

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
            replace_folder(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def uploaded(place: Storage, folder: str) -> Iterator[Path]:
    """A temporary folder to write into, whose files are put in `folder` of `place` if nothing
    fails: the page last, so that it finds what it names."""
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name)
        yield fresh
        files = sorted(path for path in fresh.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == MARKER):
            place.make(f"{folder}/{path.parent.relative_to(fresh).as_posix()}".rstrip("/."))
            place.write(f"{folder}/{path.relative_to(fresh).as_posix()}", path.read_bytes())


def _check_replaceable(folder: Path, marker: str | None) -> None:
    if not folder.exists():
        return
    is_own = folder.is_dir() and marker is not None and (folder / marker).exists()
    if not folder.is_dir() or (any(folder.iterdir()) and not is_own):
        raise StoreError(
            f"{folder} is in the way: it is not a report", "Name a folder that does not exist yet."
        )
