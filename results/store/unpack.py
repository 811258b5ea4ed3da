"""An archive of a run back on disk: whole or not at all, and nowhere but in its folder."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from steereval.common.errors import InputError, StoreError
from steereval.common.files import naming, sync_folder, temporary_sibling

SMALL = 64 << 20
"""Bytes that any archive may expand to."""
LARGEST_RATIO = 100
"""Expanded size of an archive over its size on disk, at most, above that."""
_DAMAGE = (
    *(OSError, EOFError, ValueError, RuntimeError, zlib.error),
    *(tarfile.TarError, zipfile.BadZipFile),
)
"""Exceptions of both readers for files of another format, cut off or encrypted."""


def unpack(archive: Path, folder: Path) -> None:
    """Put the run in the file `archive` (.tar.gz or .zip) into the new folder `folder`.

    The archive's own top folder is left away. Raises InputError for a folder that is there, and
    StoreError for a file that is not an archive, is damaged, or holds anything but plain files with
    names inside of one folder; `folder` does not exist then.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already", "Choose a folder that does not.")
    fresh = temporary_sibling(folder)
    try:
        written: set[str] = set()
        roots: set[str] = set()
        for name, data in _members(archive):
            root, place = _split(archive, name)
            roots.add(root)
            # Some file systems tell neither case nor the ways to compose a letter apart.
            key = unicodedata.normalize("NFC", str(place)).casefold()
            if len(roots) > 1 or key in written:
                raise _unfit(archive, f"{name!r} comes twice or lies next to the run's folder")
            written.add(key)
            with naming(folder):
                (fresh / place).parent.mkdir(parents=True, exist_ok=True)
                (fresh / place).write_bytes(data)
        if not written:
            raise _unfit(archive, "it is empty")
        with naming(folder):
            fresh.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@dataclass
class _Room:
    """Bytes to which an archive may still expand."""

    archive: Path
    left: int = field(init=False)

    def __post_init__(self) -> None:
        """All of it."""
        self.left = self.most

    @property
    def most(self) -> int:
        """Bytes that the archive may expand to."""
        return SMALL + LARGEST_RATIO * self.archive.stat().st_size

    def read(self, source: IO[bytes] | gzip.GzipFile, size: int = -1) -> bytes:
        """A file's content, or up to `size` bytes of it. Raises StoreError before it exceeds the
        limit in memory."""
        data = source.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise _unfit(
                self.archive,
                f"it expands to more than {self.most} bytes, {LARGEST_RATIO} times its size",
            )
        return data


class _Expanded(io.RawIOBase):
    """A gzip file whose every byte counts: headers of a tar file may be as large as files."""

    def __init__(self, source: gzip.GzipFile, room: _Room) -> None:
        """`room`: what it may expand to."""
        self._source, self._room = source, room

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises StoreError where they exceed the limit."""
        return self._room.read(self._source, size)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the plain files; anything else that is no folder is refused."""
    try:
        if zipfile.is_zipfile(archive):
            yield from _of_zip(archive, _Room(archive))
        else:
            yield from _of_tar(archive, _Room(archive))
    except _DAMAGE as error:
        raise StoreError(
            f"{archive} cannot be read as an archive: {error}", "Ask for it once more."
        ) from error


def _of_tar(archive: Path, room: _Room) -> Iterator[tuple[str, bytes]]:
    with (
        gzip.open(archive) as unzipped,
        _Expanded(unzipped, room) as expanded,
        tarfile.open(fileobj=expanded, mode="r|") as packed,
    ):
        for entry in packed:
            is_plain = entry.isreg() and not entry.issparse()  # holes take no room in the archive
            source = packed.extractfile(entry) if is_plain else None
            if source is not None:
                yield entry.name, source.read()
            elif not entry.isdir():
                raise _unfit(archive, f"{entry.name!r} is not a plain file")
        # Only its end shows whether all of it was sound.
        while expanded.read(1 << 20):
            pass


def _of_zip(archive: Path, room: _Room) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unfit(archive, f"{entry.filename!r} is not a plain file")
            if not entry.is_dir():
                with packed.open(entry) as source:
                    yield entry.filename, room.read(source)


def _split(archive: Path, name: str) -> tuple[str, Path]:
    """The top folder, and the place within it. Refuses what would lead out of it."""
    path = PurePosixPath(name)
    if not name.isprintable():
        raise _unfit(archive, f"{name!r} has characters that are not printed")
    if path.is_absolute() or ".." in path.parts or "\\" in name or len(path.parts) < 2:
        raise _unfit(archive, f"{name!r} is not a name within a folder")
    return path.parts[0], Path(*path.parts[1:])


def _unfit(archive: Path, why: str) -> StoreError:
    return StoreError(
        f"{archive} is not an archive of a run: {why}",
        "Give a file that `steereval archive` wrote; nothing was unpacked.",
    )
