"""Files that appear whole or not at all, also when the writer is killed or the disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from steereval.common.errors import StoreError

TEMPORARY_PREFIX = ".tmp-"
"""Start of every temporary name: hidden, so that `cells/*.parquet` never matches one."""


def temporary_sibling(path: Path) -> Path:
    """A hidden name in the folder of `path` that no other writer uses."""
    return path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")


@contextlib.contextmanager
def replacing(path: Path, is_synced: bool = True) -> Iterator[Path]:
    """A temporary sibling to write, which takes the place of `path` once the block ends well.

    Args:
        path: The file to replace; it need not exist.
        is_synced: Whether the file survives a crash of the machine: not needed for a cache.

    Yields:
        The temporary path, in the same folder.

    Raises:
        OSError: If it cannot take the place.
    """
    temporary = temporary_sibling(path)
    try:
        yield temporary
        if is_synced:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if is_synced:
        sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, is_private: bool = False) -> None:
    """Replace `path` by `data`, whole or not at all.

    Args:
        path: The file.
        data: Its content.
        is_private: Whether nobody but the user may read it (mode 0600).

    Raises:
        StoreError: The file cannot be written.
    """
    with naming(path), replacing(path) as temporary:
        if is_private:
            temporary.touch(mode=0o600)
        temporary.write_bytes(data)


def remove(path: Path) -> None:
    """Remove `path` if it is there, so that it stays removed after a crash."""
    with naming(path):
        if path.exists():
            path.unlink()
            sync_folder(path.parent)


def move(path: Path, target: Path) -> None:
    """Rename `path` to `target`, in place of a file that is there. Fails with StoreError."""
    with naming(target):
        path.replace(target)
        # The new name first: after a crash of the machine the file may have two names, never none.
        sync_folder(target.parent)
        sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in `folder`; only while nothing writes to it."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with naming(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an operating system's error into a StoreError that names `path` and a remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{path} cannot be written: {reason}", _remedy(error, path)) from error


def _remedy(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space and start the run again; finished cells are kept."
    if error.errno == errno.ENOENT:
        return f"Create the folder {path.parent} first."
    return "Choose a folder that can be written to."
