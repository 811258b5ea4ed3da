"""A run folder on disk: the manifest, and for each cell its item rows, responses and record.

    RUN/manifest.json                   written first, replaced atomically
    RUN/responses/<cell_id>.parquet     then a cell's responses,
    RUN/cells/<cell_id>.parquet         its item rows,
    RUN/cells/<cell_id>.json            and last its record, which makes it count as finished
    RUN/own_tasks/<hash>/...            files of the user's own lm-eval tasks

The manifest says which cells make up the run (`RunFolder.members`): what lies in the folder and is
not in the manifest is not read, unless it is asked for by its id. `retired` sets it apart.

Every file appears whole or not at all, so a reader may look at any moment. Nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from steereval.common.errors import StoreError
from steereval.results.store import parquet
from steereval.results.store.cell_record import (
    DONE,
    FAILED,
    CellFacts,
    CellRecord,
    Counts,
    FileDigest,
)
from steereval.results.store.document import json_bytes, parse_json, read_document
from steereval.results.store.manifest import WRITE_AGAIN, Manifest, metric_kinds
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA, SCHEMA_VERSION
from steereval.results.store.storage import LocalStorage, storage_of

MANIFEST = "manifest.json"
CELLS = "cells"
RESPONSES = "responses"
CELL_FOLDERS = (CELLS, RESPONSES)
"""Where a cell has files: `<cell_id>.json` or `<cell_id>.parquet` in each."""
OWN_TASKS = "own_tasks"
"""Where the files of the user's own tasks are kept, in a folder named after their hash each."""
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

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest. Raises StoreError."""
        self.place.write(MANIFEST, json_bytes(manifest, "the manifest"))
        self._kinds = None

    def read_manifest(self) -> Manifest:
        """The manifest; StoreError if it is missing, damaged or of another version."""
        data = self.place.read(MANIFEST)
        if data is None:
            raise StoreError(
                f"{self.place} has no manifest.json, so it is not a run folder",
                "Give the folder that `steereval run GRID.yaml --out FOLDER` wrote.",
            )
        name = self.place.at(MANIFEST)
        value = parse_json(name, data, WRITE_AGAIN)
        parquet.check_version(value.get("schema_version"), name)
        return read_document(Manifest, name, value, WRITE_AGAIN)

    def write_cell(
        self, cell_id: str, items: pa.Table, responses: pa.Table, facts: CellFacts
    ) -> None:
        """Store a finished cell: rows of ITEM_SCHEMA and RESPONSE_SCHEMA, and its record.

        The record holds `facts`, the counts, and size and hash of both files; it is written last.
        Rows that do not fit their schema, rows that `check_items` refuses, or a
        folder that cannot be written are a StoreError, and the cell does not count as finished.
        """
        files = self._files_of(cell_id, items, responses, facts)
        self.place.remove(_record(cell_id))
        for name, data in files.items():
            self.place.write(name, data)

    def check_cell(
        self, cell_id: str, items: pa.Table, responses: pa.Table, facts: CellFacts
    ) -> None:
        """Raise the StoreError that `write_cell` would raise for such a cell; write nothing."""
        self._files_of(cell_id, items, responses, facts)

    def discard(self, cell_id: str) -> None:
        """Remove all files of a cell, its record first."""
        for name in (_record(cell_id), _item_file(cell_id), _response_file(cell_id)):
            self.place.remove(name)

    def _files_of(
        self, cell_id: str, items: pa.Table, responses: pa.Table, facts: CellFacts
    ) -> dict[str, bytes]:
        """{name: content} of the files of a finished cell, in the order in which they appear."""
        _check_id(cell_id)
        item_bytes = parquet.encode(items, ITEM_SCHEMA, f"items of cell {cell_id}")
        response_bytes = parquet.encode(responses, RESPONSE_SCHEMA, f"responses of cell {cell_id}")
        self.check_items(items, cell_id, parquet.CHECK_SCORING)
        parquet.check_cell_column(items, cell_id, "items")
        parquet.check_cell_column(responses, cell_id, "responses")
        counts = {
            "items": pc.count_distinct(items["item_id"]).as_py(),
            "rows": items.num_rows,
            "responses": responses.num_rows,
        }
        digests = {
            "items": parquet.digest(item_bytes),
            "responses": parquet.digest(response_bytes),
        }
        finished = _record_of(facts, cell_id, DONE, counts=counts, files=digests)
        return {
            _response_file(cell_id): response_bytes,
            _item_file(cell_id): item_bytes,
            _record(cell_id): json_bytes(finished, f"the record of cell {cell_id}"),
        }

    def replace_items(self, cell_id: str, items: pa.Table, facts: CellFacts) -> None:
        """Give a finished cell other item rows and other facts; its responses stay.

        What cannot be written is a StoreError, and leaves the cell as it was. Only between the two
        files, rows and record, does the cell not count as finished.
        """
        before = self.read_record(cell_id)
        item_bytes = parquet.encode(items, ITEM_SCHEMA, f"items of cell {cell_id}")
        self.check_items(items, cell_id, parquet.CHECK_SCORING)
        parquet.check_cell_column(items, cell_id, "items")
        responses = before.tables.responses
        counts = Counts(
            items=pc.count_distinct(items["item_id"]).as_py(),
            rows=items.num_rows,
            responses=before.counts.responses if before.counts else 0,
        )
        finished = _record_of(
            facts,
            cell_id,
            DONE,
            counts=counts.plain(),
            files={"items": parquet.digest(item_bytes), "responses": responses.plain()},
        )
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

    def write_failure(self, cell_id: str, facts: CellFacts) -> None:
        """Record that a cell failed, with the error in `facts`; an earlier try's rows go."""
        _check_id(cell_id)
        record = _record_of(facts, cell_id, FAILED)
        failed = json_bytes(record, f"the record of cell {cell_id}")
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
        return frozenset(self.read_manifest().members)

    def stored(self) -> frozenset[str]:
        """Ids of all cells of which a file is here, whether they are in the run or not."""
        names = [name for folder in CELL_FOLDERS for name in self.place.sizes(folder)]
        return frozenset(cell_id for name in names if (cell_id := cell_of(name)))

    def records(self, among: Collection[str] | None = None) -> dict[str, CellRecord]:
        """The records of the run's cells that finished or failed.

        Args:
            among: Ids of the cells to read instead, whether they are in the run or not.

        Returns:
            {cell id: record}, ordered by id.

        Raises:
            StoreError: If the manifest or a record cannot be read.
        """
        wanted = self.members() if among is None else among
        records = {}
        for name in sorted(self.place.sizes(CELLS)):
            cell_id = name.removesuffix(".json")
            if name.endswith(".json") and (wanted is None or cell_id in wanted):
                record = self._read_record(cell_id)
                if record is not None:
                    records[cell_id] = record
        return records

    def read_record(self, cell_id: str) -> CellRecord:
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
            if record.files is not None
            and record.is_done
            and all(
                sizes_of.get(f"{cell_id}.parquet") == getattr(record.files, kind).bytes
                for kind, sizes_of in sizes.items()
            )
        }

    def read_cell(self, cell_id: str) -> tuple[pa.Table, pa.Table]:
        """The item rows and the responses of one finished cell; damage is a StoreError."""
        record = self._read_record(cell_id)
        if record is None or not record.is_done:
            raise StoreError(f"{self.place} has no finished cell {cell_id}", parquet.START_AGAIN)
        return self._items(record), self._rows_of_responses(record)

    def read_items(self) -> pa.Table:
        """The item rows of the run's finished cells, of ITEM_SCHEMA; damage is a StoreError."""
        return _concatenated(self.iter_items(), ITEM_SCHEMA)

    def iter_items(self) -> Iterator[pa.Table]:
        """The item rows of the run's finished cells, cell by cell in the order of their ids."""
        for record in self.records().values():
            if record.is_done:
                yield self._items(record)

    def read_responses(self) -> pa.Table:
        """The responses of the run's finished cells, of RESPONSE_SCHEMA; damage is a StoreError."""
        return _concatenated(self.iter_responses(), RESPONSE_SCHEMA)

    def iter_responses(self) -> Iterator[pa.Table]:
        """The responses of the run's finished cells, cell by cell in the order of their ids."""
        for record in self.records().values():
            if record.is_done:
                yield self._rows_of_responses(record)

    def read_requests(self, cell_id: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of the responses of one finished cell; damage is a StoreError."""
        return self._rows_of_responses(self.read_record(cell_id), columns)

    def files(self, members: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Every file that is kept here, the report too, apart from retired cells.

        Links, hidden files and what is half written are left out.

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

    def _items(self, record: CellRecord) -> pa.Table:
        cell_id = record.cell_id
        items = self._table(_item_file(cell_id), ITEM_SCHEMA, record.tables.items)
        self.check_items(items, cell_id, _remedy(cell_id))
        return items

    def _rows_of_responses(
        self, record: CellRecord, columns: Sequence[str] | None = None
    ) -> pa.Table:
        name, expected = _response_file(record.cell_id), record.tables.responses.plain()
        data = self.place.read(name)
        return parquet.decode(self.place.at(name), data, RESPONSE_SCHEMA, expected, columns)

    def _table(self, name: str, schema: pa.Schema, expected: FileDigest) -> pa.Table:
        data = self.place.read(name)
        return parquet.decode(self.place.at(name), data, schema, expected.plain())

    def _read_record(self, cell_id: str) -> CellRecord | None:
        """The record of a cell; None if there is none (any more)."""
        data = self.place.read(_record(cell_id))
        if data is None:
            return None
        name = self.place.at(_record(cell_id))
        value = parse_json(name, data, parquet.START_AGAIN)
        parquet.check_version(value.get("schema_version"), name)
        record = read_document(CellRecord, name, value, parquet.START_AGAIN)
        if record.cell_id != cell_id:
            raise StoreError(f"{name} is the record of cell {record.cell_id}", parquet.START_AGAIN)
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
            f"{cell_id!r} is not a cell id",
            "Use letters, digits, '_', '-' and '.', no leading dot.",
        )


def _record_of(facts: CellFacts, cell_id: str, status: str, **parts: object) -> CellRecord:
    """The record of a cell: what is known of it, and what became of it."""
    known = {"schema_version": SCHEMA_VERSION, "cell_id": cell_id, "status": status}
    return CellRecord.model_validate(facts.plain() | known | parts)


def _concatenated(parts: Iterator[pa.Table], schema: pa.Schema) -> pa.Table:
    tables = list(parts)
    return pa.concat_tables(tables) if tables else schema.empty_table()
