"""SHA-256 of files, remembered in the cache folder: a file that stays the same is read once.

What was read is remembered under the file's path with its size, its times of modification and of
change, and its inode. The time of change cannot be set by a program, so a file of the same size
that is written and given its old time of modification is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from steereval.common import files
from steereval.common.errors import InputError, StoreError
from steereval.common.paths import cache_folder, check_path
from steereval.common.reading import parse_json
from steereval.common.text import short_hash

SETTLED = 2.0
"""Seconds since a file's last change before its hash is remembered: file systems count time in
steps of up to so much, and a second change within a step would not show."""
TRIES = 3
"""Times that a file is read which changes while it is read."""
THREADS = 8
"""Files that are read at the same time; hashing one takes a core about half a second a gigabyte."""


@dataclass(frozen=True)
class Stamp:
    """Attributes of a file that change with its content."""

    size: int
    """Bytes."""
    modified_ns: int
    """Time of the last modification, which programs may set."""
    changed_ns: int
    """Time of the last change of content or attributes, which they may not."""
    inode: int
    """Number of the file in its file system."""

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of the file at `path`, links followed. Raises OSError."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    Raises InputError if the file cannot be read, or changes each time it is read.
    """
    try:
        real = path.resolve(strict=True)
        for _ in range(TRIES):
            before = Stamp.of(real)
            known = _remembered(real, before)
            if known is not None:
                return known
            digest = read_digest(real)
            if Stamp.of(real) == before:
                _remember(real, before, digest)
                return digest
    except OSError as error:
        raise InputError(
            f"the file {path} cannot be read: {error.strerror or error}", check_path(path)
        ) from error
    raise InputError(f"the file {path} changes while it is read", "Wait until it is written.")


def hashes_of(paths: Iterable[Path]) -> dict[Path, str]:
    """The SHA-256 of several files, read at the same time. Raises InputError."""
    listed = list(paths)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        return dict(zip(listed, pool.map(sha256_of, listed), strict=True))


def read_digest(path: Path) -> str:
    """The SHA-256 of the content of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _memory(path: Path) -> Path:
    name = short_hash(os.fsencode(path), 32)
    return cache_folder() / "file-hashes" / f"{name}.json"


def _remembered(path: Path, stamp: Stamp) -> str | None:
    """The hash of a file that has not changed since; None if it is not known."""
    with suppress(OSError, ValueError):
        note = parse_json(_memory(path).read_bytes())
        if isinstance(note, dict) and note.get("path") == str(path):
            digest = note.get("sha256")
            if note.get("stamp") == asdict(stamp) and isinstance(digest, str):
                return digest
    return None


def _remember(path: Path, stamp: Stamp, digest: str) -> None:
    """Keep a hash for the next process. A failure is not an error."""
    if time.time() - stamp.changed_ns / 1e9 < SETTLED:
        return
    memory = _memory(path)
    data = json.dumps({"path": str(path), "stamp": asdict(stamp), "sha256": digest}).encode()
    with suppress(OSError, StoreError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(memory, data)
