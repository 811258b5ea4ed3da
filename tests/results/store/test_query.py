"""Questions in SQL: answered from the run's tables, and from nothing else."""

from __future__ import annotations

import csv
import json
import math
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from lm_eval_log import item_id, sample, write_log

from steereval.common.errors import InputError, StoreError, UnknownNameError
from steereval.harness.cli.main import main
from steereval.results.lm_eval.import_samples import NewArm, import_samples
from steereval.results.lm_eval.sample_files import read_sample_file
from steereval.results.store.archive import write_archive
from steereval.results.store.cell_table import CELL_SCHEMA
from steereval.results.store.query import VIEWS, Answer, query
from steereval.results.store.query_output import lines_of
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA

DOCUMENTED = Path(__file__).parents[3] / "docs" / "run-folder.md"
RUN = FakeRun(
    (FakeMethod("helps", (1.0,), lambda task, strength: 0.3, displacement={"3": 1.0, "4": 2.0}),),
    (FakeTask("truth", n_validation=10, n_test=30, item_id=item_id),),
    fit_seeds=(0, 1),
    fails=lambda cell: cell["fit_seed"] == 1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("query")
    run = write_run(RUN, folder / "run")
    log = write_log(folder, [sample(i, {"acc": 1.0}) for i in range(40)])
    import_samples(run, [read_sample_file(log)], NewArm("hf", "tiny"))
    manifest = run.read_manifest()
    later = manifest.cells[0].model_copy(update={"cell_id": "feed" * 4, "sample_seed": 9})
    run.write_manifest(manifest.model_copy(update={"cells": [*manifest.cells, later]}))
    return run


def rows_of(run: RunFolder, sql: str) -> list[tuple[Any, ...]]:
    return list(query(run, sql).rows)


def test_rows_are_the_item_rows(run: RunFolder) -> None:
    rows = dict(rows_of(run, "select method, avg(value) from rows group by method"))
    frame = run.read_items().to_pandas()
    assert rows == pytest.approx(frame.groupby("method").value.mean().to_dict())


def test_tables_join(run: RunFolder) -> None:
    sql = """
        select r.method, count(distinct a.prompt_hash), min(c.status)
        from ROWS r join Responses a using (cell_id, item_id) join cells c using (cell_id)
        group by r.method order by 1
    """
    assert rows_of(run, sql) == [("helps", 40, "done"), ("hf", 40, "done"), ("none", 40, "done")]


def test_cells_say_what_became_of_them(run: RunFolder) -> None:
    sql = "select method, fit_seed, status, imported, items, displacement, error from cells"
    assert rows_of(run, sql) == [
        ("none", None, "done", False, 40, None, None),
        ("helps", 0, "done", False, 40, 1.5, None),
        ("helps", 1, "failed", False, None, None, "the layer <14> is gone"),
        ("none", None, "pending", False, None, None, None),
        ("hf", None, "done", True, 40, None, None),
    ]


def test_everything_about_the_tables_can_be_asked(run: RunFolder) -> None:
    assert rows_of(run, "show tables") == [("cells",), ("responses",), ("rows",)]
    names = [row[0] for row in rows_of(run, "describe responses")]
    assert names == RESPONSE_SCHEMA.names
    assert rows_of(run, "explain select 1 from cells")
    assert rows_of(run, "from cells select count(*)") == [(5,)]
    assert rows_of(run, "with a as (values (1), (2)) select sum(col0) from a") == [(3,)]


def test_only_what_is_asked_for_is_read(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: RunFolder) -> Iterator[pa.Table]:
        raise AssertionError("responses were read")

    monkeypatch.setattr(RunFolder, "iter_responses", never)
    assert rows_of(run, "select count(*) from cells") == [(5,)]
    with pytest.raises(AssertionError, match="responses were read"):
        rows_of(run, "select count(*) from responses")


@pytest.mark.parametrize(
    "sql",
    [
        "create table t as select 1",
        "delete from rows",
        "drop view rows",
        "copy rows to '{folder}/rows.csv'",
        "attach '{folder}/other.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "pragma database_list",
        "select * from '{folder}/secret.csv'",
        "select * from read_text('{folder}/secret.csv')",
        "select * from glob('{folder}/*')",
        "select * from read_csv('https://example.org/a.csv')",
        "select * from 's3://bucket/a.parquet'",
        "select * from frame",
        "select 1; drop view rows",
        "",
        "select from",
        "select nope from rows",
    ],
)
def test_a_run_is_only_read_and_nothing_else_is(run: RunFolder, tmp_path: Path, sql: str) -> None:
    frame = pa.table({"a": [1]})  # a variable that DuckDB would find
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(run.path.rglob("*"))
    with pytest.raises(InputError, match=r"rows \(cell_id|statements"):
        rows_of(run, sql.format(folder=tmp_path))
    assert sorted(run.path.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert frame.num_rows == 1


def test_errors_name_what_is_near(run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"metrik.*Candidate bindings: .*metric"):
        rows_of(run, "select metrik from rows")
    with pytest.raises(InputError, match="0 statements"):
        rows_of(run, "-- nothing")


def test_an_error_that_comes_late_is_reported_too(run: RunFolder) -> None:
    with pytest.raises(InputError, match="Could not convert string"):
        rows_of(run, "select cast(method as integer) from rows")


def test_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run folder"):
        rows_of(RunFolder(tmp_path), "select 1 from rows")


# --- as text


def answer(*rows: tuple[Any, ...], columns: tuple[str, ...] = ("name", "value")) -> Answer:
    return Answer(columns, iter(rows))


def test_a_table_to_read() -> None:
    shown = list(lines_of(answer(("a", 1.5), ("long\nname", None), ("b", 22.0)), "table"))
    assert shown == [
        "name       value",
        "---------  -----",
        "a            1.5",
        "long name",
        "b             22",
    ]


def test_a_long_table_says_what_it_leaves_out() -> None:
    shown = list(lines_of(answer(*[("a", i) for i in range(250)]), "table"))
    assert len(shown) == 2 + 200 + 1
    assert "50 more rows" in shown[-1]
    assert list(lines_of(answer(), "table")) == ["name  value", "----  -----"]


def test_csv_and_json_hold_everything() -> None:
    values = [('a, "b"\nc', math.inf), (None, 0.1), ("d", date(2026, 1, 2)), ("é", Decimal("1.5"))]
    text = "\n".join(lines_of(answer(*values), "csv"))
    assert list(csv.reader(text.splitlines(keepends=True))) == [
        ["name", "value"],
        ['a, "b"\nc', "inf"],
        ["", "0.1"],
        ["d", "2026-01-02"],
        ["é", "1.5"],
    ]
    assert json.loads(
        "\n".join(lines_of(answer(*values, (["x", 1], {"k": math.nan})), "json"))
    ) == [
        {"name": 'a, "b"\nc', "value": "inf"},
        {"name": None, "value": 0.1},
        {"name": "d", "value": "2026-01-02"},
        {"name": "é", "value": 1.5},
        {"name": ["x", 1], "value": {"k": "nan"}},
    ]
    assert json.loads("".join(lines_of(answer(), "json"))) == []


def test_columns_of_one_name_stay_apart(run: RunFolder) -> None:
    table = query(run, 'select 1 as a, 2 as a, 3 as "a_2", 4 as a')
    assert table.columns == ("a", "a_2", "a_2_2", "a_3")


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'json'"):
        lines_of(answer(), "jason")


def test_the_command(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(run.path), "select 1 as one"]) == 0
    assert capsys.readouterr().out == "one\n---\n  1\n"
    write_archive(run, tmp_path / "run.zip")
    asked_for = ["query", str(tmp_path / "run.zip"), "select count(*) as n from cells"]
    assert main([*asked_for, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 5}]
    assert main(["query", str(run.path), "drop table rows"]) == 2
    assert "not a select but DROP" in capsys.readouterr().err


# --- the documented schema


def documented(view: str) -> list[tuple[str, str, bool]]:
    """(column, type, whether it may be null) of a view's table in the documentation."""
    section = DOCUMENTED.read_text("utf-8").split(f"## `{view}`: ")[1].split("\n## ")[0]
    lines = section[section.index("| column | type | meaning |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert all(meaning for _, _, meaning in cells)
    return [(name.strip("`"), kind.split(",")[0], "null" in kind) for name, kind, _ in cells]


@pytest.mark.parametrize(
    ("view", "schema"),
    [("rows", ITEM_SCHEMA), ("responses", RESPONSE_SCHEMA), ("cells", CELL_SCHEMA)],
)
def test_the_documentation_has_every_column(view: str, schema: pa.Schema) -> None:
    assert documented(view) == [(field.name, str(field.type), field.nullable) for field in schema]
    assert VIEWS[view] is schema


def test_repetitions_name_what_they_repeat(tmp_path: Path) -> None:
    run = write_run(replace(RUN, repeated=("none",)), tmp_path / "run")
    sql = "select a.method, b.method from cells a join cells b on a.repeats = b.cell_id"
    assert rows_of(run, sql) == [("none (repeated)", "none")]


@pytest.mark.parametrize(
    "sql",
    ["select " + "- " * 50_000, "select " + "(" * 5_000, "select " + "1," * 20_000 + "1",
     "select '\ud800'", "select " + "[" * 300 + "]" * 300],
    ids=["signs", "brackets", "long", "surrogate", "nested"],
)  # fmt: skip
def test_texts_that_would_exhaust_the_parser_are_refused(run: RunFolder, sql: str) -> None:
    with pytest.raises(InputError):
        query(run, sql)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_memory_that_functions_take_is_bounded(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB's own limit does not count these texts: 100 GB in all."""
    monkeypatch.setattr("steereval.results.store.query.MOST_BYTES", 1 << 30)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(InputError, match="GiB"):
        list(query(run, "select list_value(repeat('x', 100000000)) from range(1000)").rows)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_table_commands_no_terminal_and_ends(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steereval.results.store.query_output.MOST_COUNTED", 1000)
    sql = """select chr(27) || '[2J' as "\x1b[31mred" from range(100000000000)"""
    lines = list(lines_of(query(run, sql), "table"))
    assert "\x1b" not in "".join(lines)
    assert "1000 or more" in lines[-1]
