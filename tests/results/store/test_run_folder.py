"""The run folder: whole cells or none, and every damage put into words."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import (
    FakeMethod,
    FakeRun,
    FakeTask,
    bare_manifest,
    cells_of,
    facts,
    item_table,
    response_table,
)

from steereval.common.errors import StoreError
from steereval.results.store.cell_record import Counts, Timings
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, VERSION_KEY

RUN = FakeRun(
    methods=(FakeMethod("caa"),),
    tasks=(FakeTask("truth", n_validation=3, n_test=5),),
    fit_seeds=(0, 1),
)
CELLS = list(cells_of(RUN))
CELL = CELLS[1]
ITEMS = item_table(RUN, RUN.tasks[0], CELL)
RESPONSES = response_table(CELL, ITEMS["item_id"].to_pylist())
ID = CELL["cell_id"]
MANIFEST = bare_manifest(CELL)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create()
    run.write_manifest(MANIFEST)
    run.write_cell(ID, ITEMS, RESPONSES, facts(timings={"seconds": 1.0}))
    return run


def change(column: str, value: object) -> pa.Table:
    index = ITEM_SCHEMA.names.index(column)
    values = [value, *ITEMS[column].to_pylist()[1:]]
    return ITEMS.set_column(index, ITEM_SCHEMA.field(column), [values])


def test_the_columns_of_the_item_table_are_those_that_others_rely_on() -> None:
    names = "cell_id model method strength layer task metric higher_is_better item_id cluster_id "
    names += "split fit_seed sample_seed fewshot_seed fold value weight"
    assert ITEM_SCHEMA.names == names.split()
    assert [f.name for f in ITEM_SCHEMA if f.nullable] == ["cluster_id", "fit_seed", "fold"]


def test_what_is_written_is_read_again(folder: RunFolder) -> None:
    assert folder.read_items().equals(ITEMS)
    assert folder.read_responses().equals(RESPONSES)
    assert folder.finished() == {ID}
    record = folder.records()[ID]
    assert record.status == "done"
    assert record.counts == Counts(items=8, rows=8, responses=8)
    assert record.timings == Timings(seconds=1.0)
    assert folder.read_manifest() == MANIFEST


def test_the_version_stands_in_the_files(folder: RunFolder) -> None:
    for part in ("cells", "responses"):
        metadata = pq.read_schema(folder.path / part / f"{ID}.parquet").metadata
        assert metadata[VERSION_KEY] == b"1"


def test_an_empty_run_reads_as_empty_tables(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "new")
    run.create()
    assert run.read_items().schema.equals(ITEM_SCHEMA, check_metadata=False)
    assert run.read_responses().num_rows == 0
    assert run.finished() == set()
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        run.read_manifest()


def test_a_failure_is_a_record_without_rows(folder: RunFolder) -> None:
    folder.write_failure(ID, facts(error={"type": "CellError", "message": "out of memory"}))
    assert folder.records()[ID].error.message == "out of memory"
    assert folder.finished() == set()
    assert folder.read_items().num_rows == 0
    assert not list(folder.path.glob("*/*.parquet"))
    folder.write_cell(ID, ITEMS, RESPONSES, facts())
    assert folder.finished() == {ID}


@pytest.mark.parametrize("part", ["cells", "responses"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "missing", "empty"])
def test_a_damaged_table_is_named(folder: RunFolder, part: str, damage: str) -> None:
    path = folder.path / part / f"{ID}.parquet"
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(data) // 2
        path.write_bytes(
            {
                "truncated": data[:middle],
                "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
                "foreign": b"not a table",
                "empty": b"",
            }[damage]
        )
    read = folder.read_items if part == "cells" else folder.read_responses
    with pytest.raises(StoreError, match=f"{path}.*start the run again"):
        read()
    assert (folder.finished() == set()) == (damage != "flipped")


@pytest.mark.parametrize("text", ['{"status": "do', "[]", '{"status": "done"}', "\xff", "{}"])
def test_a_damaged_record_is_named(folder: RunFolder, text: str) -> None:
    path = folder.path / "cells" / f"{ID}.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StoreError, match=f"{path}.*Delete it"):
        folder.finished()


def test_a_damaged_manifest_is_named(folder: RunFolder) -> None:
    path = folder.path / "manifest.json"
    path.write_text("{")
    with pytest.raises(StoreError, match=f"{path} is damaged.*Delete it"):
        folder.read_manifest()


def test_an_unknown_version_is_said(folder: RunFolder) -> None:
    folder.write_manifest(bare_manifest(schema_version=99))
    with pytest.raises(StoreError, match="has schema version 99, and this program reads version 1"):
        folder.read_manifest()
    folder.write_manifest(MANIFEST)
    record = folder.path / "cells" / f"{ID}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"schema_version": 2}))
    with pytest.raises(StoreError, match="schema version 2"):
        folder.records()


def test_a_table_of_an_unknown_version_is_said(folder: RunFolder) -> None:
    from steereval.results.store import parquet

    path = folder.path / "cells" / f"{ID}.parquet"
    for metadata, message in [({VERSION_KEY: b"7"}, "schema version 7"), (None, "no version")]:
        sink = pa.BufferOutputStream()
        pq.write_table(ITEMS.replace_schema_metadata(metadata), sink)
        data = bytes(sink.getvalue())
        with pytest.raises(StoreError, match=message):
            parquet.parse(path, data, ITEM_SCHEMA)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (change("value", float("nan")), "value nan for the metric acc of item truth-00000"),
        (change("split", "train"), "train"),
        (change("cell_id", "other"), "name the cells"),
        (change("item_id", "truth-00001"), "2 rows for the metric acc of item truth-00001"),
        (ITEMS.slice(0, 0), "no item rows"),
        (ITEMS.drop_columns(["fold"]), r"lack the columns \['fold'\]"),
        (ITEMS.append_column("extra", [[1] * 8]), r"unknown columns \['extra'\]"),
        (ITEMS.set_column(15, "value", [["a"] * 8]), "do not fit their schema"),
        (ITEMS.set_column(8, "item_id", [[None] * 8]), "do not fit their schema"),
    ],
)
def test_rows_that_no_analysis_could_use_are_refused(
    tmp_path: Path, items: pa.Table, message: str
) -> None:
    run = RunFolder(tmp_path)
    run.create()
    with pytest.raises(StoreError, match=message):
        run.write_cell(ID, items, RESPONSES, facts())
    assert run.finished() == set()
    assert list((tmp_path / "cells").iterdir()) == []


def test_infinite_values_are_kept(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.create()
    run.write_cell(ID, change("value", float("inf")), RESPONSES, facts())
    assert run.read_items()["value"].to_pylist()[0] == float("inf")


@pytest.mark.parametrize("cell_id", ["", "../x", "a/b", ".hidden", "a b"])
def test_names_that_would_leave_the_folder_are_refused(folder: RunFolder, cell_id: str) -> None:
    with pytest.raises(StoreError, match="is not a cell id"):
        folder.write_failure(cell_id, facts())


def test_a_record_that_json_cannot_hold_is_refused(folder: RunFolder) -> None:
    with pytest.raises(StoreError, match="cannot be written as JSON"):
        folder.write_failure(ID, facts(timings={"seconds": float("nan")}))
    assert folder.finished() == {ID}


def test_a_full_disk_names_the_path_and_leaves_nothing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = folder.read_manifest()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"manifest\.json cannot be written: No space.*Free some"):
        folder.write_manifest(bare_manifest(name="other"))
    monkeypatch.undo()
    assert folder.read_manifest() == before
    assert not list(folder.path.glob(".tmp-*"))


def test_other_rows_leave_the_responses(folder: RunFolder) -> None:
    record = folder.read_record(ID).model_copy(update={"judges": {"truth": {}}})
    place = ITEM_SCHEMA.names.index("metric")
    other = ITEMS.set_column(place, ITEM_SCHEMA.field("metric"), [["true"] * ITEMS.num_rows])
    more = pa.concat_tables([ITEMS, other])
    folder.replace_items(ID, more, record)
    assert folder.finished() == {ID}
    items, responses = folder.read_cell(ID)
    assert items.equals(more)
    assert responses.equals(RESPONSES)
    now = folder.read_record(ID)
    assert now.counts == Counts(items=8, rows=16, responses=RESPONSES.num_rows)
    assert (now.judges, now.timings) == ({"truth": {}}, Timings(seconds=1.0))
    folder.replace_items(ID, ITEMS, folder.read_record(ID))
    assert folder.read_record(ID).counts.rows == 8


def test_other_rows_that_cannot_be_stored_leave_the_cell_as_it_was(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    record = folder.read_record(ID)
    with pytest.raises(StoreError, match="value"):
        folder.replace_items(ID, change("value", float("nan")), record)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space"):
            folder.replace_items(ID, change("value", 7.0), record)
    assert folder.read_record(ID) == record
    assert folder.finished() == {ID}
    assert folder.read_items().equals(ITEMS)


def test_rows_of_a_cell_that_is_not_there_are_refused(folder: RunFolder) -> None:
    with pytest.raises(StoreError, match="has no record of cell absent"):
        folder.replace_items("absent", ITEMS, facts())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(StoreError, match=f"{tmp_path / 'file' / 'run'} cannot be written"):
        run.create()
    with pytest.raises(StoreError, match="cannot be written"):
        run.write_manifest(MANIFEST)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(folder: RunFolder) -> None:
    (folder.path / "cells").chmod(0o500)
    with pytest.raises(StoreError, match="Choose a folder that can be written to"):
        folder.write_failure("other", facts())


def test_left_over_temporary_files_are_never_read_and_are_cleaned(folder: RunFolder) -> None:
    for name in ("cells/.tmp-1-a.json", "cells/.tmp-2-b.parquet", "responses/.tmp-3-c.parquet"):
        (folder.path / name).write_bytes(b"half")
    (folder.path / ".tmp-4-report").mkdir()
    assert folder.finished() == {ID}
    assert folder.read_items().num_rows == 8
    folder.clean()
    assert not list(folder.path.rglob(".tmp-*"))
    assert folder.finished() == {ID}


WRITER = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from fake_run import *
    run = FakeRun((FakeMethod("caa"),), (FakeTask("truth", n_validation=0, n_test=400),))
    folder = RunFolder(sys.argv[1])
    cell = next(cells_of(run))
    number, cells = 0, []
    while True:
        name = f"cell{number % 7}-{number:05d}"
        cells.append(cell | {"cell_id": name})
        folder.write_manifest(bare_manifest(*cells, created=str(number)))
        items = item_table(run, run.tasks[0], cell | {"cell_id": name})
        folder.write_cell(
            name, items, response_table({"cell_id": name, "task": "truth"}, ["a"] * 400), facts()
        )
        print(name, flush=True)
        number += 1
"""


@pytest.mark.chaos
def test_a_writer_killed_at_any_moment_leaves_whole_cells(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for attempt in range(5):
        folder.create()
        writer = subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(WRITER),
                folder.path,
                Path(__file__).parents[2] / "support",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        ids = [writer.stdout.readline().strip()]
        deadline = time.monotonic() + 0.05 + 0.037 * attempt
        while time.monotonic() < deadline:
            assert folder.read_items().num_rows % 400 == 0
        writer.send_signal(signal.SIGKILL)
        ids += [line.strip() for line in writer.communicate()[0].splitlines()]
        assert set(ids) <= folder.finished()
        assert folder.read_items().num_rows == 400 * len(folder.finished())
        assert folder.read_responses().num_rows == 400 * len(folder.finished())
        assert folder.read_manifest().created
        assert all(pq.read_table(p).num_rows == 400 for p in folder.path.glob("*/[!.]*.parquet"))
        folder.clean()
        for path in folder.path.glob("*/*"):
            path.unlink()


def test_files_are_named_from_the_folder_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.write_manifest(MANIFEST)
    (folder.path / "report" / "figures").mkdir(parents=True)
    (folder.path / "report" / "figures" / "a.svg").write_text("<svg/>")
    (folder.path / "cells" / ".tmp-1-a.json").write_text("half")
    names = [name for name, _ in folder.files()]
    assert names == ["manifest.json", "report/figures/a.svg"]
    assert dict(folder.files())["report/figures/a.svg"] == b"<svg/>"


def test_files_of_a_run_elsewhere(tmp_path: Path) -> None:
    """By fsspec's file system in memory, as by any other."""
    folder = RunFolder(f"memory://{tmp_path.name}/run")
    folder.create()
    folder.write_manifest(MANIFEST)
    folder.place.make("report/figures")
    folder.place.write("report/figures/a.svg", b"<svg/>")
    assert [name for name, _ in folder.files()] == ["manifest.json", "report/figures/a.svg"]
