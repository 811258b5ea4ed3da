"""Folders that appear whole or not at all, and are used only while they are what was put there.

Whoever makes one works in a folder of its own next to it, notes size and SHA-256 of every file, and
renames it into place. So two processes that make the same folder at once end with one whole folder,
and one that is killed leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from steereval.common.files import (
    TEMPORARY_PREFIX,
    naming,
    sync_folder,
    temporary_sibling,
    write_bytes,
)
from steereval.common.reading import parse_json

CONTENTS = ".contents.json"
"""Says in a folder what the others of its files are. It is written last."""
LARGE = 16 << 20
"""Bytes from which a file that was not touched since CONTENTS was written is not read again."""
FORGOTTEN = 86_400.0
"""Seconds without a change after which the maker of a temporary folder is taken to be dead."""


def publish_folder(folder: Path, build: Callable[[Path], object], source: str) -> None:
    """Have `folder` whole: leave it if it is, else let `build` fill a fresh one that replaces it.

    Args:
        folder: Where it goes; what lies there and is damaged or from another source is removed.
        build: Fills the empty folder that it is given.
        source: All that decides what `build` makes.

    Raises:
        StoreError: If it cannot be written.
    """
    if is_whole(folder, source):
        return
    fresh = temporary_sibling(folder)
    with naming(folder):
        fresh.mkdir(parents=True)
        _remove_forgotten(folder.parent)
        try:
            build(fresh)
            note_contents(fresh, source)
            # Another process may have been faster, and others may be reading what it made.
            if not is_whole(folder, source):
                replace_folder(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def is_whole(folder: Path, source: str) -> bool:
    """Whether `folder` was published from `source`, and each of its files is what it was then."""
    note = folder / CONTENTS
    try:
        noted, written = parse_json(note.read_bytes()), note.stat().st_ctime_ns
        files, known = dict(_files(folder)), noted["files"]
        return (
            noted["source"] == source
            and files.keys() == known.keys()
            and all(_is_same(path, known[name], written) for name, path in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def note_contents(folder: Path, source: str) -> None:
    """Note in `folder` what its files are now, and that they come from `source`.

    Raises:
        StoreError: If the note cannot be written.
    """
    sizes = {}
    with naming(folder):
        for name, path in sorted(_files(folder)):
            size = path.stat().st_size
            sizes[name] = {"bytes": size, "sha256": file_sha256(path)}
            if size >= LARGE:
                # It is not read again, so it must be on the disk before the note is.
                with path.open("rb") as file:
                    os.fsync(file.fileno())
    note = {"source": source, "files": sizes}
    write_bytes(folder / CONTENTS, json.dumps(note, indent=1).encode())


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`, whichever other process does the same.

    Of several the last one stays. Where `fresh` cannot take the place, `folder` stays what it was.

    Raises:
        OSError: If it cannot.
    """
    old: Path | None = None
    try:
        while True:
            try:
                fresh.rename(folder)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            moved = temporary_sibling(folder)
            with contextlib.suppress(FileNotFoundError):
                folder.rename(moved)
                if old is not None:
                    shutil.rmtree(old, ignore_errors=True)
                old = moved
    except OSError:
        if old is not None:
            with contextlib.suppress(OSError):
                old.rename(folder)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    sync_folder(folder.parent)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of the files in `folder`, without the note and what Python compiles."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and name.as_posix() != CONTENTS and "__pycache__" not in name.parts:
            yield name.as_posix(), path


def _is_same(path: Path, known: dict[str, object], written: int) -> bool:
    status = path.stat()
    if status.st_size != known["bytes"]:
        return False
    # A program can set the time of a file's modification, and not the time of its last change.
    untouched = status.st_size >= LARGE and status.st_ctime_ns <= written
    return untouched or file_sha256(path) == known["sha256"]


def file_sha256(path: Path) -> str:
    """The hash of the content of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_forgotten(folder: Path) -> None:
    """Remove the temporary folders of makers that died long ago."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
