"""Answers of a model, kept until they are scored: one table and one record for each group.

    RUN/answers/<group>-<digest>.parquet  what was asked, and what each arm answered
    RUN/answers/<group>.json              the record that names the table; written last

A table counts once its record stands, so a group's answers are there whole or not at all. Both go
when all cells of the group are finished: their tables hold the answers then.
"""

from __future__ import annotations

import json
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from steereval.common.errors import StoreError
from steereval.results.store import parquet
from steereval.results.store.document import (
    JsonObject,
    Part,
    parse_json,
    read_document,
)
from steereval.results.store.schema import SCHEMA_VERSION, VERSION_KEY
from steereval.results.store.storage import Storage

FOLDER = "answers"

ANSWER_SCHEMA: Final = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("item_id", pa.string()),
        pa.field("request", pa.int64()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("continuation", pa.string()),
        pa.field("folds", pa.list_(pa.int64())),
        pa.field("texts", pa.list_(pa.string())),
        pa.field("log_likelihoods", pa.list_(pa.float64())),
        pa.field("are_greedy", pa.list_(pa.bool_())),
        pa.field("text_log_likelihoods", pa.list_(pa.float64())),
        pa.field("text_tokens", pa.list_(pa.int64())),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
"""One row per request of a task in the order in which it was asked; lists hold one value per arm.

`kind` is lm-eval's request type, `key` the hash of all of the request that decides its answer,
`folds` the fold whose steerers did not see the item. `texts` is null for likelihoods, and
`log_likelihoods` (nats) and `are_greedy` for texts, whose log-likelihoods under the unsteered model
and numbers of tokens are in the last two columns. A row of kind `chat` holds no request: its
`prompt` is the text of the chat whose hash is `key`.
"""


class AnswerFile(Part):
    """The table of a group's answers."""

    name: str
    """Its file."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Hash of the file."""


class AnswerRecord(Part):
    """`answers/<group>.json`: what is known of a group's answers next to their table."""

    cells: list[str]
    """Ids of the group's cells."""
    arms: list[str] = []
    """The arms, in the order of the table's lists."""
    facts: dict[str, JsonObject] = {}
    """{cell id: what its record says of how it was answered}."""
    tallies: dict[str, dict[str, list[float]]] = {}
    """{arm: {site: [steered tokens, sum of their displacements]}}."""
    acting: list[str] = []
    """Arms whose treatment acts on some request."""
    lost: dict[str, dict[str, str]] = {}
    """{task: {item id: reason}} of items whose requests cannot be given to the model."""
    schema_version: int = 0
    """Version of the tables' schema."""
    file: AnswerFile | None = None
    """The table."""


@dataclass
class AnswerStore:
    """The answers that are kept in a run folder."""

    place: Storage
    """The run folder."""
    _known: dict[str, tuple[int, AnswerRecord]] = field(default_factory=dict)

    def records(self) -> dict[str, AnswerRecord]:
        """The records by name; what is damaged counts as not kept. Raises StoreError.

        A record is read again only if its size has changed.
        """
        records = {}
        for name, size in sorted(self.place.sizes(FOLDER).items()):
            if not name.endswith(".json"):
                continue
            if self._known.get(name, (None,))[0] != size:
                record = self._record(name)
                if record is None:
                    continue
                self._known[name] = size, record
            records[name.removesuffix(".json")] = self._known[name][1]
        return records

    def cells(self) -> set[str]:
        """Ids of the cells whose answers are kept. Raises StoreError."""
        return {cell for record in self.records().values() for cell in record.cells}

    def write(self, name: str, table: pa.Table, record: AnswerRecord) -> None:
        """Keep the answers of a group; those kept under `name` before stand until these do.

        Args:
            name: The group's id.
            table: Its answers, of ANSWER_SCHEMA.
            record: What else is known of them; its file and version are filled in.

        Raises:
            StoreError: The folder cannot be written, or the table does not fit its schema.
        """
        data = parquet.encode(table, ANSWER_SCHEMA, f"answers of group {name}")
        digest = parquet.digest(data)
        file = f"{name}-{digest['sha256'][:16]}.parquet"
        full = record.model_copy(
            update={
                "schema_version": SCHEMA_VERSION,
                "file": AnswerFile.model_validate({"name": file, **digest}),
            }
        )
        before = self._record(f"{name}.json")
        self.place.make(FOLDER)
        self.place.write(f"{FOLDER}/{file}", data)
        # Keys keep their order: scores must not depend on how a record was read. Displacements that
        # are not finite are kept, since scoring reports them.
        self.place.write(f"{FOLDER}/{name}.json", json.dumps(full.plain()).encode())
        stands = self._record(f"{name}.json") or full
        if before is not None and _table_of(before) not in (file, _table_of(stands)):
            self.place.remove(f"{FOLDER}/{_table_of(before)}")

    def read(self, name: str) -> tuple[AnswerRecord, pa.Table]:
        """Record and table kept under `name`; StoreError if they are missing or damaged."""
        record = self._record(f"{name}.json")
        if record is None or record.file is None:
            raise StoreError(f"{self.place} has no answers {name}", parquet.START_AGAIN)
        path = f"{FOLDER}/{record.file.name}"
        expected = record.file.model_dump(include={"bytes", "sha256"})
        data = self.place.read(path)
        return record, parquet.decode(self.place.at(path), data, ANSWER_SCHEMA, expected)

    def remove(self, name: str) -> None:
        """Let go of what is kept under `name`. Raises StoreError."""
        record = self._record(f"{name}.json")
        self.place.remove(f"{FOLDER}/{name}.json")
        if record is not None:
            self.place.remove(f"{FOLDER}/{_table_of(record)}")

    def remove_if_done(self, name: str, finished: Set[str]) -> None:
        """Let go of what is kept under `name` if all of its cells are finished."""
        record = self._record(f"{name}.json")
        if record is not None and set(record.cells) <= finished:
            self.remove(name)

    def tidy(self, finished: Set[str]) -> None:
        """Let go of answers whose cells are all finished, and of tables that no record names.

        Only while nothing writes to the folder. Raises StoreError.
        """
        self.place.sweep(FOLDER)
        for name, record in self.records().items():
            if set(record.cells) <= finished:
                self.remove(name)
        named = {_table_of(record) for record in self.records().values()}
        for name in self.place.sizes(FOLDER):
            if name.endswith(".parquet") and name not in named:
                self.place.remove(f"{FOLDER}/{name}")

    def _record(self, name: str) -> AnswerRecord | None:
        """A record; None if there is none, or none that this version can read."""
        data = self.place.read(f"{FOLDER}/{name}")
        with suppress(StoreError):
            value = parse_json(name, data or b"", parquet.START_AGAIN)
            record = read_document(AnswerRecord, name, value, parquet.START_AGAIN)
            if record.schema_version == SCHEMA_VERSION and record.file is not None:
                return record
        return None


def _table_of(record: AnswerRecord) -> str | None:
    """Name of the table's file."""
    return record.file.name if record.file else None
