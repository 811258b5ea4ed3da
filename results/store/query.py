"""SQL over a run's tables, through DuckDB: reading alone, with no file and no network in reach."""

from __future__ import annotations

import re
import resource
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from steereval.common.errors import InputError
from steereval.common.reading import Malformed, check_plain
from steereval.results.store.cell_table import CELL_SCHEMA, cell_table
from steereval.results.store.content import check_content
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA

_VIEWS: Final[Mapping[str, tuple[pa.Schema, Callable[[RunFolder], pa.Table]]]] = {
    "rows": (ITEM_SCHEMA, RunFolder.read_items),
    "responses": (RESPONSE_SCHEMA, RunFolder.read_responses),
    "cells": (CELL_SCHEMA, cell_table),
}

VIEWS: Final = {name: schema for name, (schema, _) in _VIEWS.items()}
"""Tables that queries can use, by name, with their columns."""

_SEALED: Final = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "4GB",
    "max_expression_depth": "250",
    "lock_configuration": "true",
}
"""No files, no extensions, no variables of this program, and no way to change that."""

_BATCH: Final = 10_000
LONGEST: Final = 20_000
"""Characters of a query: DuckDB cannot be interrupted while it parses and binds."""
MOST_OPENED: Final = 2_000
"""Brackets and signs in a query: where they open and nothing follows, DuckDB's parser takes memory
that grows with their square (660 MB for 2 000 of them), which no limit of its own covers."""
_OPENING: Final = frozenset("([{-+~!@")
MOST_BYTES: Final = 5 << 30
"""Memory that a query may take: DuckDB's own limit does not count the texts that functions make."""
MOST_SECONDS = 60.0
"""Time that a query may take, and after it each batch of its rows."""


@dataclass(frozen=True)
class Answer:
    """The result of a query."""

    columns: tuple[str, ...]
    """Their names, each once."""
    rows: Iterator[tuple[Any, ...]]
    """The values, fetched as they are read."""


def query(run: RunFolder, sql: str) -> Answer:
    """The answer to one `select` over the views `rows`, `responses` and `cells`.

    Only tables that the text mentions are read. Raises InputError for anything that is not one
    statement that reads, or that DuckDB refuses, and StoreError for a damaged run.
    """
    # Imported here: most commands need no database.
    import duckdb

    _check_size(sql)
    with _telling(duckdb.Error):
        _check_reads(duckdb, sql)
    check_content(run, run.read_manifest(), run.records())
    connection = duckdb.connect(":memory:", config=dict(_SEALED))
    for name, (schema, read) in _VIEWS.items():
        is_asked = re.search(rf"\b{name}\b", sql, re.IGNORECASE)
        connection.register(name, read(run) if is_asked else schema.empty_table())
    with _telling(duckdb.Error), _limited(connection):
        result = connection.execute(sql)
        columns = _distinct([str(column[0]) for column in result.description])
    return Answer(columns, _fetched(duckdb, connection, result))


@contextmanager
def _telling(kind: type[Exception]) -> Iterator[None]:
    """Turn an error of DuckDB, which `kind` is, into an InputError."""
    try:
        yield
    except kind as error:
        reason = str(error).strip().split("\n\n")[0].replace("\n", " ")
        raise InputError(f"the query cannot be answered: {reason}", _remedy()) from error


def _check_size(sql: str) -> None:
    try:
        check_plain(sql)
    except Malformed as error:
        raise InputError(f"the query cannot be read: {error}", "Write it as plain text.") from error
    opened = sum(character in _OPENING for character in sql)
    if len(sql) > LONGEST or opened > MOST_OPENED:
        raise InputError(
            f"the query has {len(sql)} characters and {opened} brackets and signs; {LONGEST} and "
            f"{MOST_OPENED} are allowed",
            "Ask for less, or read the Parquet files with pandas, polars or DuckDB.",
        )


def _check_reads(duckdb: Any, sql: str) -> None:
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise InputError(f"the query holds {len(statements)} statements", "Ask one at a time.")
    kind = statements[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise InputError(
            f"the query is not a select but {kind.name}", "A run is only read. " + _remedy()
        )


@contextmanager
def _limited(connection: Any) -> Iterator[None]:
    """End a query of a connection that takes more than MOST_SECONDS or MOST_BYTES."""
    timer = threading.Timer(MOST_SECONDS, connection.interrupt)
    timer.start()
    try:
        with _bounded_memory():
            yield
    except Exception as error:
        if isinstance(error, MemoryError) or "OUT OF MEMORY" in str(error).upper():
            raise InputError(
                f"the query needs more than {MOST_BYTES >> 30} GiB", "Ask for less."
            ) from error
        if "INTERRUPT" in str(error).upper():
            raise InputError(
                f"the query was ended after {MOST_SECONDS:g} seconds",
                "Ask for less, or read the Parquet files with pandas, polars or DuckDB.",
            ) from error
        raise
    finally:
        timer.cancel()


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let this process allocate no more than MOST_BYTES on top of what it has, on Linux."""
    if not sys.platform.startswith("linux"):
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MOST_BYTES
    limits = [limit for limit in before if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(most, *limits) if limits else most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _fetched(duckdb: Any, connection: Any, result: Any) -> Iterator[tuple[Any, ...]]:
    while True:
        with _telling(duckdb.Error), _limited(connection):
            batch: Sequence[tuple[Any, ...]] = result.fetchmany(_BATCH)
        if not batch:
            return
        yield from batch


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """A name that comes again gets its number: `a`, `a_2`."""
    distinct: list[str] = []
    for name in names:
        number, new = 1, name
        while new in distinct:
            number += 1
            new = f"{name}_{number}"
        distinct.append(new)
    return tuple(distinct)


def _remedy() -> str:
    views = "; ".join(f"{name} ({', '.join(schema.names)})" for name, schema in VIEWS.items())
    return f"There are {views}."
