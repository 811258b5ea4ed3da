"""A run folder on disk: the manifest, and for each cell its item rows, responses and record.

    RUN/manifest.json                   written first, replaced atomically
    RUN/responses/<cell_id>.parquet     then a cell's responses,
    RUN/cells/<cell_id>.parquet         its item rows,
    RUN/cells/<cell_id>.json            and last its record, which makes it count as finished

Every file appears whole or not at all, so a reader may look at any moment. Nothing is unpickled.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from steereval.errors import StoreError
from steereval.results import atomic, tables
from steereval.results.schema import ITEM_SCHEMA, RESPONSE_SCHEMA, SCHEMA_VERSION

DONE = "done"
FAILED = "failed"

_CELL_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class RunFolder:
    """The run folder at `path`; nothing is read or written until a method is called."""

    def __init__(self, path: Path | str) -> None:
        """`path` may not exist yet; see `create`."""
        self.path = Path(path)

    def create(self) -> None:
        """Make the folder and its subfolders; an existing run folder is left as it is."""
        for folder in (self.path, self._cells, self._responses):
            with atomic.naming(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest; the schema version is added if it is not in it."""
        versioned = {"schema_version": SCHEMA_VERSION} | manifest
        atomic.write_bytes(self._manifest, _json_bytes(versioned, "the manifest"))

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; StoreError if it is missing, damaged or of another version."""
        if not self._manifest.exists():
            raise StoreError(
                f"{self.path} has no manifest.json, so it is no run folder",
                "Give the folder that `steereval run GRID.yaml --out FOLDER` wrote.",
            )
        manifest = _read_json(self._manifest, "Start the run again, which writes it anew.")
        tables.check_version(manifest.get("schema_version"), self._manifest)
        return manifest

    def write_cell(
        self, cell_id: str, items: pa.Table, responses: pa.Table, record: dict[str, Any]
    ) -> None:
        """Store a finished cell: rows of ITEM_SCHEMA and RESPONSE_SCHEMA, and its record.

        The record is kept with "status": "done", the counts, and size and hash of both files; it
        is written last. Rows that do not fit their schema, NaN values, no rows at all, or a folder
        that cannot be written are a StoreError, and the cell does not count as finished.
        """
        _check_id(cell_id)
        item_bytes = tables.encode(items, ITEM_SCHEMA, f"items of cell {cell_id}")
        response_bytes = tables.encode(responses, RESPONSE_SCHEMA, f"responses of cell {cell_id}")
        tables.check_items(items, cell_id)
        tables.check_cell_column(items, cell_id, "items")
        tables.check_cell_column(responses, cell_id, "responses")
        finished = _identified(record, cell_id, DONE) | {
            "counts": {
                "items": pc.count_distinct(items["item_id"]).as_py(),
                "rows": items.num_rows,
                "responses": responses.num_rows,
            },
            "files": {
                "items": tables.digest(item_bytes),
                "responses": tables.digest(response_bytes),
            },
        }
        record_bytes = _json_bytes(finished, f"the record of cell {cell_id}")
        atomic.remove(self._record(cell_id))
        atomic.write_bytes(self._response_file(cell_id), response_bytes)
        atomic.write_bytes(self._item_file(cell_id), item_bytes)
        atomic.write_bytes(self._record(cell_id), record_bytes)

    def write_failure(self, cell_id: str, record: dict[str, Any]) -> None:
        """Record that a cell failed, with the error in `record`; an earlier try's rows go."""
        _check_id(cell_id)
        failed = _json_bytes(_identified(record, cell_id, FAILED), f"the record of cell {cell_id}")
        atomic.write_bytes(self._record(cell_id), failed)
        atomic.remove(self._item_file(cell_id))
        atomic.remove(self._response_file(cell_id))

    def records(self) -> dict[str, dict[str, Any]]:
        """{cell_id: record} of every cell that finished or failed, ordered by id."""
        found = {}
        for path in sorted(self._cells.glob("*.json")):
            if path.name.startswith(atomic.TEMPORARY_PREFIX):
                continue
            record = _read_json(path, tables.START_AGAIN)
            _check_record(record, path)
            found[path.stem] = record
        return found

    def finished(self) -> set[str]:
        """Ids of the cells whose record says done and whose files have the recorded sizes."""
        return {
            cell_id
            for cell_id, record in self.records().items()
            if record["status"] == DONE and self._files_are_there(cell_id, record)
        }

    def read_cell(self, cell_id: str) -> tuple[pa.Table, pa.Table]:
        """The item rows and the responses of one finished cell; damage is a StoreError."""
        files = _read_json(self._record(cell_id), tables.START_AGAIN)["files"]
        items = tables.decode(self._item_file(cell_id), ITEM_SCHEMA, files["items"])
        responses = self._response_file(cell_id)
        return items, tables.decode(responses, RESPONSE_SCHEMA, files["responses"])

    def read_items(self) -> pa.Table:
        """The item rows of all finished cells, of ITEM_SCHEMA; damage is a StoreError."""
        return _concatenated(self.iter_items(), ITEM_SCHEMA)

    def iter_items(self) -> Iterator[pa.Table]:
        """The item rows of the finished cells, cell by cell in the order of their ids."""
        for cell_id, record in self.records().items():
            if record["status"] == DONE:
                yield tables.decode(self._item_file(cell_id), ITEM_SCHEMA, record["files"]["items"])

    def read_responses(self) -> pa.Table:
        """The responses of all finished cells, of RESPONSE_SCHEMA; damage is a StoreError."""
        return _concatenated(self.iter_responses(), RESPONSE_SCHEMA)

    def iter_responses(self) -> Iterator[pa.Table]:
        """The responses of the finished cells, cell by cell in the order of their ids."""
        for cell_id, record in self.records().items():
            if record["status"] == DONE:
                yield tables.decode(
                    self._response_file(cell_id), RESPONSE_SCHEMA, record["files"]["responses"]
                )

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Name within the folder (with "/") and content of every file, ordered by name.

        The report and all else that is kept there too; what is hidden or half written is not.
        """
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                try:
                    yield name.as_posix(), path.read_bytes()
                except OSError as error:
                    reason = error.strerror or str(error)
                    raise StoreError(f"{path} cannot be read: {reason}", "Check it.") from error

    def clean(self) -> None:
        """Remove what a killed writer left over; only while nothing writes to this folder."""
        for folder in (self.path, self._cells, self._responses):
            for path in folder.glob(f"{atomic.TEMPORARY_PREFIX}*"):
                with atomic.naming(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    @property
    def _manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def _cells(self) -> Path:
        return self.path / "cells"

    @property
    def _responses(self) -> Path:
        return self.path / "responses"

    def _record(self, cell_id: str) -> Path:
        return self._cells / f"{cell_id}.json"

    def _item_file(self, cell_id: str) -> Path:
        return self._cells / f"{cell_id}.parquet"

    def _response_file(self, cell_id: str) -> Path:
        return self._responses / f"{cell_id}.parquet"

    def _files_are_there(self, cell_id: str, record: dict[str, Any]) -> bool:
        files = {
            "items": self._item_file(cell_id),
            "responses": self._response_file(cell_id),
        }
        return all(
            path.is_file() and path.stat().st_size == record["files"][name]["bytes"]
            for name, path in files.items()
        )


def _check_id(cell_id: str) -> None:
    if not _CELL_ID.fullmatch(cell_id):
        raise StoreError(
            f"{cell_id!r} is no cell id", "Use letters, digits, '_', '-' and '.', no leading dot."
        )


def _identified(record: dict[str, Any], cell_id: str, status: str) -> dict[str, Any]:
    return record | {"schema_version": SCHEMA_VERSION, "cell_id": cell_id, "status": status}


def _check_record(record: dict[str, Any], path: Path) -> None:
    tables.check_version(record.get("schema_version"), path)
    complete = record.get("status") == FAILED or (
        record.get("status") == DONE and _has_files(record.get("files"))
    )
    if not complete or record.get("cell_id") != path.stem:
        raise StoreError(f"{path} is not the record of cell {path.stem}", tables.START_AGAIN)


def _has_files(files: object) -> bool:
    return isinstance(files, dict) and all(
        isinstance(files.get(name), dict) and "bytes" in files[name]
        for name in ("items", "responses")
    )


def _concatenated(parts: Iterator[pa.Table], schema: pa.Schema) -> pa.Table:
    found = list(parts)
    return pa.concat_tables(found) if found else schema.empty_table()


def _json_bytes(value: dict[str, Any], what: str) -> bytes:
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} cannot be written as JSON: {error}") from error


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}", remedy) from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}", f"Delete it. {remedy}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} is damaged: it holds no object", f"Delete it. {remedy}")
    return value
