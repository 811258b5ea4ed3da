"""Where a run folder is: a folder of this machine, or one in an object store.

Both keep one promise: a file appears whole or not at all. In a folder it is written under another
name and renamed; an object store shows an object when its upload is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from steereval.common import files as atomic
from steereval.common.errors import InputError, StoreError
from steereval.common.secrets import redacted
from steereval.common.text import first_line

STORES = ("s3", "gs", "gcs", "abfs")
"""Kinds of URI that pyarrow knows itself."""


class Storage(Protocol):
    """A folder of files, named by paths relative to it such as `cells/a.json`."""

    def __str__(self) -> str:
        """How users call it."""
        ...

    @property
    def location(self) -> str:
        """By which `storage_of` finds it, also from another process or folder."""
        ...

    def at(self, name: str) -> str:
        """How users call a file in it."""
        ...

    def make(self, folder: str) -> None:
        """Make sure that `folder` can be written to."""
        ...

    def read(self, name: str) -> bytes | None:
        """The whole file; None if there is none. Other trouble is a StoreError."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace the file. It is there whole or not at all; trouble is a StoreError."""
        ...

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""
        ...

    def move(self, name: str, target: str) -> None:
        """Give the file `name` the name `target`, in place of a file that has it.

        `target` appears whole or not at all, and the content is under one of the names at every
        moment; a crash may leave it under both. Trouble is a StoreError.
        """
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Names and bytes of the files directly in `folder`, without what is half written."""
        ...

    def walk(self) -> list[str]:
        """Names of all files, also those in folders within folders."""
        ...

    def sweep(self, folder: str) -> None:
        """Remove what killed writers left in `folder`."""
        ...


def storage_of(location: Path | str) -> Storage:
    """The place at a path, or at a URI that pyarrow or fsspec knows, such as `s3://bucket/run`.

    Raises InputError for a URI of an unknown kind.
    """
    if isinstance(location, Path) or "://" not in location:
        return LocalStorage(Path(location))
    return RemoteStorage(location)


def location_within(place: Storage, folder: str) -> str:
    """By which `storage_of` finds the folder `folder` of `place`."""
    location = place.location
    uri, mark, options = location.partition("?") if "://" in location else (location, "", "")
    return f"{uri.rstrip('/')}/{folder}{mark}{options}"


class LocalStorage:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist."""
        self.path = path

    def __str__(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def location(self) -> str:
        """Its full path."""
        return str(self.path.resolve())

    def at(self, name: str) -> str:
        """The path of a file."""
        return str(self.path / name)

    def make(self, folder: str) -> None:
        """Make `folder` and those above it."""
        path = self.path / folder
        with atomic.naming(path):
            path.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """The whole file; None if there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"{self.at(name)} cannot be read: {error.strerror or error}", "Look at its rights."
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """Replace the file: written next to it, synced, renamed."""
        atomic.write_bytes(self.path / name, data)

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""
        atomic.remove(self.path / name)

    def move(self, name: str, target: str) -> None:
        """Rename the file."""
        atomic.move(self.path / name, self.path / target)

    def sizes(self, folder: str) -> dict[str, int]:
        """Names and bytes of the files in `folder`."""
        sizes = {}
        with contextlib.suppress(FileNotFoundError):
            for path in (self.path / folder).iterdir():
                # A writer may rename or remove a file while the folder is read.
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file() and not path.name.startswith(atomic.TEMPORARY_PREFIX):
                        sizes[path.name] = path.stat().st_size
        return sizes

    def walk(self) -> list[str]:
        """Names of all files, also those in folders within folders."""
        # A link may lead out of the folder.
        files = (p for p in self.path.rglob("*") if p.is_file() and not p.is_symlink())
        return [path.relative_to(self.path).as_posix() for path in files]

    def sweep(self, folder: str) -> None:
        """Remove temporary files and folders."""
        atomic.sweep(self.path / folder)


class RemoteStorage:
    """A folder in an object store, or on any other file system that pyarrow or fsspec reaches."""

    def __init__(self, uri: str) -> None:
        """`uri` as in `s3://bucket/folder`; options of pyarrow may follow after `?`."""
        _refuse_credentials(uri)
        self.uri = uri
        self._files, self._root = _file_system(uri)
        self._name = uri.split("?")[0].rstrip("/")

    def __str__(self) -> str:
        """Its URI without options."""
        return self._name

    @property
    def location(self) -> str:
        """Its URI with its options."""
        return self.uri

    def at(self, name: str) -> str:
        """The URI of a file."""
        return f"{self._name}/{name}"

    def make(self, folder: str) -> None:
        """Object stores have no folders; other file systems do."""
        if self._files.type_name not in ("s3", "gcs", "abfs"):
            with self._trouble(folder, "written"):
                self._files.create_dir(self._path(folder), recursive=True)

    def read(self, name: str) -> bytes | None:
        """The whole file; None if there is none."""
        with self._trouble(name, "read"):
            try:
                with self._files.open_input_stream(self._path(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """Upload the file, which replaces it when complete."""
        with self._trouble(name, "written"):
            stream = self._files.open_output_stream(self._path(name))
            stream.write(data)
            stream.close()

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""
        with self._trouble(name, "removed"):
            if self._files.get_file_info(self._path(name)).type == pafs.FileType.File:
                self._files.delete_file(self._path(name))

    def move(self, name: str, target: str) -> None:
        """Copy the file, then delete the first: object stores have no rename."""
        with self._trouble(target, "written"):
            self._files.copy_file(self._path(name), self._path(target))
        self.remove(name)

    def sizes(self, folder: str) -> dict[str, int]:
        """Names and bytes of the files in `folder`."""
        selector = pafs.FileSelector(self._path(folder), allow_not_found=True)
        with self._trouble(folder, "read"):
            infos = self._files.get_file_info(selector)
        return {each.base_name: each.size for each in infos if each.type == pafs.FileType.File}

    def walk(self) -> list[str]:
        """Names of all files, also those in folders within folders."""
        selector = pafs.FileSelector(self._path(""), allow_not_found=True, recursive=True)
        with self._trouble("", "read"):
            infos = self._files.get_file_info(selector)
        start = len(self._path("")) + 1
        return [each.path[start:] for each in infos if each.type == pafs.FileType.File]

    def sweep(self, folder: str) -> None:
        """Nothing is left of an upload that was not completed."""

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextlib.contextmanager
    def _trouble(self, name: str, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = first_line(error)
            raise StoreError(
                f"{self.at(name)} cannot be {what}: {reason}",
                "Check the address, the credentials and the connection.",
            ) from error


def _refuse_credentials(uri: str) -> None:
    """Raise InputError for a URI with credentials, which files, logs and jobs would show."""
    if redacted(uri) != uri:
        raise InputError(
            f"the run folder {uri} has credentials in its address",
            "Give them in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or in a profile; `steereval submit --env NAME` passes them on.",
        )


@cache
def _file_system(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a URI, and the path of the URI in it."""
    try:
        files, path = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if uri.split("://")[0] in STORES:
            raise InputError(
                f"the run folder {uri} cannot be used: {error}", "Mend the URI's options."
            ) from error
        files, path = _through_fsspec(uri)
    except OSError as error:
        raise StoreError(f"{uri} cannot be reached: {error}", "Check the address.") from error
    return files, path.rstrip("/")


def _through_fsspec(uri: str) -> tuple[pafs.FileSystem, str]:
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"the run folder {uri} is on no file system that is known here: {error}",
            "Use a path, s3://, gs://, or install the fsspec package of that file system.",
        ) from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(files)), path
