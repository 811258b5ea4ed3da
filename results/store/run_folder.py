"""A run folder on disk: the manifest, and for each cell its item rows, responses and record.

    RUN/manifest.json                   written first, replaced atomically
    RUN/responses/<cell_id>.parquet     then a cell's responses,
    RUN/cells/<cell_id>.parquet         its item rows,
    RUN/cells/<cell_id>.json            and last its record, which makes it count as finished

The manifest says which cells make up the run (`RunFolder.members`): what lies in the folder and is
not in the manifest is not read, unless it is asked for by its id. `retired` sets it apart.

Every file appears whole or not at all, so a reader may look at any moment. Nothing is unpickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from steereval.common.errors import StoreError
from steereval.results.store import parquet
from steereval.results.store.manifest import metric_kinds, planned_cells
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA, SCHEMA_VERSION
from steereval.results.store.storage import LocalStorage, storage_of

DONE = "done"
FAILED = "failed"

MANIFEST = "manifest.json"
CELLS = "cells"
RESPONSES = "responses"
CELL_FOLDERS = (CELLS, RESPONSES)
"""Where a cell has files: `<cell_id>.json` or `<cell_id>.parquet` in each."""
RETIRED = "retired"
"""Where cells lie that are not in the run any more, in the same folders (`results.retired`)."""

_CELL_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class RunFolder:
    """A run folder; nothing is read or written until a method is called."""

    def __init__(self, location: Path | str) -> None:
        """A path, or a URI such as `s3://bucket/run`; it may not exist yet, see `create`."""
        self.place = storage_of(location)
        self._kinds: parquet.Kinds | None = None

    @property
    def path(self) -> Path:
        """Where it is on this machine; StoreError if it is not."""
        if not isinstance(self.place, LocalStorage):
            raise StoreError(f"{self.place} is not on this machine", "Give a local folder.")
        return self.place.path

    def create(self) -> None:
        """Make the folder and its subfolders; an existing run folder is left as it is."""
        for folder in ("", *CELL_FOLDERS):
            self.place.make(folder)

    def exists(self) -> bool:
        """Whether it has a manifest."""
        return MANIFEST in self.place.sizes("")

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest; the schema version is added if it is not in it."""
        versioned = {"schema_version": SCHEMA_VERSION} | manifest
        self.place.write(MANIFEST, json_bytes(versioned, "the manifest"))
        self._kinds = None

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; StoreError if it is missing, damaged or of another version."""
        data = self.place.read(MANIFEST)
        if data is None:
            raise StoreError(
                f"{self.place} has no manifest.json, so it is no run folder",
                "Give the folder that `steereval run GRID.yaml --out FOLDER` wrote.",
            )
        name = self.place.at(MANIFEST)
        manifest = _parsed(name, data, "Start the run again, which writes it anew.")
        parquet.check_version(manifest.get("schema_version"), name)
        return manifest

    def write_cell(
        self, cell_id: str, items: pa.Table, responses: pa.Table, record: dict[str, Any]
    ) -> None:
        """Store a finished cell: rows of ITEM_SCHEMA and RESPONSE_SCHEMA, and its record.

        The record is kept with "status": "done", the counts, and size and hash of both files; it
        is written last. Rows that do not fit their schema, rows that `check_items` refuses, or a
        folder that cannot be written are a StoreError, and the cell does not count as finished.
        """
        files = self._files_of(cell_id, items, responses, record)
        self.place.remove(_record(cell_id))
        for name, data in files.items():
            self.place.write(name, data)

    def check_cell(
        self, cell_id: str, items: pa.Table, responses: pa.Table, record: dict[str, Any]
    ) -> None:
        """Raise the StoreError that `write_cell` would raise for such a cell; write nothing."""
        self._files_of(cell_id, items, responses, record)

    def discard(self, cell_id: str) -> None:
        """Remove all files of a cell, its record first."""
        for name in (_record(cell_id), _item_file(cell_id), _response_file(cell_id)):
            self.place.remove(name)

    def _files_of(
        self, cell_id: str, items: pa.Table, responses: pa.Table, record: dict[str, Any]
    ) -> dict[str, bytes]:
        """{name: content} of the files of a finished cell, in the order in which they appear."""
        _check_id(cell_id)
        item_bytes = parquet.encode(items, ITEM_SCHEMA, f"items of cell {cell_id}")
        response_bytes = parquet.encode(responses, RESPONSE_SCHEMA, f"responses of cell {cell_id}")
        self.check_items(items, cell_id, parquet.CHECK_SCORING)
        parquet.check_cell_column(items, cell_id, "items")
        parquet.check_cell_column(responses, cell_id, "responses")
        finished = _identified(record, cell_id, DONE) | {
            "counts": {
                "items": pc.count_distinct(items["item_id"]).as_py(),
                "rows": items.num_rows,
                "responses": responses.num_rows,
            },
            "files": {
                "items": parquet.digest(item_bytes),
                "responses": parquet.digest(response_bytes),
            },
        }
        return {
            _response_file(cell_id): response_bytes,
            _item_file(cell_id): item_bytes,
            _record(cell_id): json_bytes(finished, f"the record of cell {cell_id}"),
        }

    def replace_items(self, cell_id: str, items: pa.Table, record: dict[str, Any]) -> None:
        """Give a finished cell other item rows and the record `record`; its responses stay.

        What cannot be written is a StoreError, and leaves the cell as it was. Only between the two
        files, rows and record, does the cell not count as finished.
        """
        before = self.read_record(cell_id)
        item_bytes = parquet.encode(items, ITEM_SCHEMA, f"items of cell {cell_id}")
        self.check_items(items, cell_id, parquet.CHECK_SCORING)
        parquet.check_cell_column(items, cell_id, "items")
        counts = {"items": pc.count_distinct(items["item_id"]).as_py(), "rows": items.num_rows}
        finished = _identified(record, cell_id, DONE) | {
            "counts": before["counts"] | counts,
            "files": before["files"] | {"items": parquet.digest(item_bytes)},
        }
        record_bytes = json_bytes(finished, f"the record of cell {cell_id}")
        self.place.write(_item_file(cell_id), item_bytes)
        self.place.write(_record(cell_id), record_bytes)

    def check_items(self, items: pa.Table, cell_id: str, remedy: str) -> None:
        """Refuse item rows that no analysis could use: see `tables.check_items`.

        The manifest says of which kind a metric is. All that is written and all that is read pass
        here.
        """
        if self._kinds is None:
            has_manifest = self.place.read(MANIFEST) is not None
            self._kinds = metric_kinds(self.read_manifest()) if has_manifest else {}
        parquet.check_items(items, cell_id, self._kinds, remedy)

    def write_failure(self, cell_id: str, record: dict[str, Any]) -> None:
        """Record that a cell failed, with the error in `record`; an earlier try's rows go."""
        _check_id(cell_id)
        failed = json_bytes(_identified(record, cell_id, FAILED), f"the record of cell {cell_id}")
        self.place.write(_record(cell_id), failed)
        self.place.remove(_item_file(cell_id))
        self.place.remove(_response_file(cell_id))

    def members(self) -> frozenset[str] | None:
        """The cells that make up the run: those of the manifest, imported ones included.

        Returns:
            Their ids; None for a folder without a manifest, all of whose cells count.

        Raises:
            StoreError: If the manifest cannot be read.
        """
        if not self.exists():
            return None
        return frozenset(planned_cells(self.read_manifest()))

    def stored(self) -> frozenset[str]:
        """Ids of all cells of which a file is here, whether they are in the run or not."""
        names = [name for folder in CELL_FOLDERS for name in self.place.sizes(folder)]
        return frozenset(cell_id for name in names if (cell_id := cell_of(name)))

    def records(self, among: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """The records of the run's cells that finished or failed.

        Args:
            among: Ids of the cells to read instead, whether they are in the run or not.

        Returns:
            {cell id: record}, ordered by id.

        Raises:
            StoreError: If the manifest or a record cannot be read.
        """
        wanted = self.members() if among is None else among
        found = {}
        for name in sorted(self.place.sizes(CELLS)):
            cell_id = name.removesuffix(".json")
            if name.endswith(".json") and (wanted is None or cell_id in wanted):
                record = self._read_record(cell_id)
                if record is not None:
                    found[cell_id] = record
        return found

    def read_record(self, cell_id: str) -> dict[str, Any]:
        """The record of one cell that finished or failed; StoreError if there is none."""
        record = self._read_record(cell_id)
        if record is None:
            raise StoreError(f"{self.place} has no record of cell {cell_id}", parquet.START_AGAIN)
        return record

    def finished(self, among: Collection[str] | None = None) -> set[str]:
        """The run's cells whose record says done and whose files have the recorded sizes.

        Args:
            among: Ids of the cells to look at instead, whether they are in the run or not.

        Returns:
            Their ids.

        Raises:
            StoreError: If the manifest or a record cannot be read.
        """
        sizes = {
            "items": self.place.sizes(CELLS),
            "responses": self.place.sizes(RESPONSES),
        }
        return {
            cell_id
            for cell_id, record in self.records(among).items()
            if record["status"] == DONE
            and all(
                found.get(f"{cell_id}.parquet") == record["files"][kind]["bytes"]
                for kind, found in sizes.items()
            )
        }

    def read_cell(self, cell_id: str) -> tuple[pa.Table, pa.Table]:
        """The item rows and the responses of one finished cell; damage is a StoreError."""
        record = self._read_record(cell_id)
        if record is None or record["status"] != DONE:
            raise StoreError(f"{self.place} has no finished cell {cell_id}", parquet.START_AGAIN)
        return self._items(record), self._rows_of_responses(record)

    def read_items(self) -> pa.Table:
        """The item rows of the run's finished cells, of ITEM_SCHEMA; damage is a StoreError."""
        return _concatenated(self.iter_items(), ITEM_SCHEMA)

    def iter_items(self) -> Iterator[pa.Table]:
        """The item rows of the run's finished cells, cell by cell in the order of their ids."""
        for record in self.records().values():
            if record["status"] == DONE:
                yield self._items(record)

    def read_responses(self) -> pa.Table:
        """The responses of the run's finished cells, of RESPONSE_SCHEMA; damage is a StoreError."""
        return _concatenated(self.iter_responses(), RESPONSE_SCHEMA)

    def iter_responses(self) -> Iterator[pa.Table]:
        """The responses of the run's finished cells, cell by cell in the order of their ids."""
        for record in self.records().values():
            if record["status"] == DONE:
                yield self._rows_of_responses(record)

    def read_requests(self, cell_id: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of the responses of one finished cell; damage is a StoreError."""
        return self._rows_of_responses(self.read_record(cell_id), columns)

    def files(self, members: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Every file that is kept here, the report too, apart from retired cells.

        What is hidden or half written is left out.

        Args:
            members: Ids of the cells whose files are wanted; None for all that are here.

        Yields:
            Name within the folder (with "/") and content, ordered by name.
        """
        for name in sorted(self.place.walk()):
            data = self.place.read(name) if _belongs(name, members) else None
            if data is not None:
                yield name, data

    def clean(self) -> None:
        """Remove what a killed writer left over; only while nothing writes to this folder."""
        for folder in ("", *CELL_FOLDERS, *(f"{RETIRED}/{each}" for each in CELL_FOLDERS)):
            self.place.sweep(folder)

    def _items(self, record: dict[str, Any]) -> pa.Table:
        cell_id = record["cell_id"]
        items = self._table(_item_file(cell_id), ITEM_SCHEMA, record["files"]["items"])
        self.check_items(items, cell_id, _remedy(cell_id))
        return items

    def _rows_of_responses(
        self, record: dict[str, Any], columns: Sequence[str] | None = None
    ) -> pa.Table:
        name, expected = _response_file(record["cell_id"]), record["files"]["responses"]
        data = self.place.read(name)
        return parquet.decode(self.place.at(name), data, RESPONSE_SCHEMA, expected, columns)

    def _table(self, name: str, schema: pa.Schema, expected: dict[str, Any]) -> pa.Table:
        return parquet.decode(self.place.at(name), self.place.read(name), schema, expected)

    def _read_record(self, cell_id: str) -> dict[str, Any] | None:
        """The record of a cell; None if there is none (any more)."""
        data = self.place.read(_record(cell_id))
        if data is None:
            return None
        name = self.place.at(_record(cell_id))
        record = _parsed(name, data, parquet.START_AGAIN)
        _check_record(record, name)
        return record


def _belongs(name: str, members: Collection[str] | None) -> bool:
    """Whether the file `name` is one of the run."""
    folder, *rest = PurePosixPath(name).parts
    if folder == RETIRED or any(part.startswith(".") for part in (folder, *rest)):
        return False
    if folder not in CELL_FOLDERS or len(rest) != 1 or members is None:
        return True
    cell_id = cell_of(rest[0])
    return cell_id is None or cell_id in members


def cell_of(name: str) -> str | None:
    """The id of the cell that a file in one of CELL_FOLDERS is of; None for other files."""
    cell_id, _, ending = name.rpartition(".")
    return cell_id if ending in ("json", "parquet") and _CELL_ID.fullmatch(cell_id) else None


def _remedy(cell_id: str) -> str:
    return (
        f"Delete {_item_file(cell_id)} and {_record(cell_id)}, and start the run again, which "
        "computes that cell again."
    )


def _record(cell_id: str) -> str:
    return f"{CELLS}/{cell_id}.json"


def _item_file(cell_id: str) -> str:
    return f"{CELLS}/{cell_id}.parquet"


def _response_file(cell_id: str) -> str:
    return f"{RESPONSES}/{cell_id}.parquet"


def _check_id(cell_id: str) -> None:
    if not _CELL_ID.fullmatch(cell_id):
        raise StoreError(
            f"{cell_id!r} is no cell id", "Use letters, digits, '_', '-' and '.', no leading dot."
        )


def _identified(record: dict[str, Any], cell_id: str, status: str) -> dict[str, Any]:
    return record | {"schema_version": SCHEMA_VERSION, "cell_id": cell_id, "status": status}


def _check_record(record: dict[str, Any], name: str) -> None:
    parquet.check_version(record.get("schema_version"), name)
    complete = record.get("status") == FAILED or (
        record.get("status") == DONE and _has_files(record.get("files"))
    )
    cell_id = PurePosixPath(name).stem
    if not complete or record.get("cell_id") != cell_id:
        raise StoreError(f"{name} is not the record of cell {cell_id}", parquet.START_AGAIN)


def _has_files(files: object) -> bool:
    return isinstance(files, dict) and all(
        isinstance(files.get(name), dict) and "bytes" in files[name]
        for name in ("items", "responses")
    )


def _concatenated(parts: Iterator[pa.Table], schema: pa.Schema) -> pa.Table:
    found = list(parts)
    return pa.concat_tables(found) if found else schema.empty_table()


def json_bytes(value: dict[str, Any], what: str) -> bytes:
    """`value`, called `what` in errors, as JSON that other programs read; else StoreError."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} cannot be written as JSON: {error}") from error


def _parsed(name: str, data: bytes, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise StoreError(f"{name} is damaged: {error}", f"Delete it. {remedy}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{name} is damaged: it holds no object", f"Delete it. {remedy}")
    return value
