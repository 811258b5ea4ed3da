"""The table of diagnoses: stored whole, read in one, removed, and documented."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from steereval.common.errors import StoreError
from steereval.results.store.diagnosis import (
    DIAGNOSIS_SCHEMA,
    JUDGES,
    QUANTITIES,
    Diagnosis,
    DiagnosisRecord,
    diagnosed,
    read_diagnoses,
    remove_diagnosis,
    write_diagnosis,
)
from steereval.results.store.storage import LocalStorage

DOCS = Path(__file__).parents[3] / "docs"


def one_row(model: str) -> pa.Table:
    row = {
        field.name: {"string": "x", "double": 1.5, "int64": 2, "bool": True}[str(field.type)]
        for field in DIAGNOSIS_SCHEMA
    }
    return pa.Table.from_pylist([row | {"model": model}], schema=DIAGNOSIS_SCHEMA)


@pytest.fixture
def place(tmp_path: Path) -> LocalStorage:
    """A folder with two diagnoses."""
    for name in ("a", "b"):
        write_diagnosis(
            LocalStorage(tmp_path), name, Diagnosis(one_row(name), DiagnosisRecord(model=name))
        )
    return LocalStorage(tmp_path)


def test_tables_are_read_with_their_records(place: LocalStorage) -> None:
    diagnoses = read_diagnoses(place)
    assert {name: each.table["model"].to_pylist() for name, each in diagnoses.items()} == {
        "a": ["a"],
        "b": ["b"],
    }
    assert {name: each.record.model for name, each in diagnoses.items()} == {"a": "a", "b": "b"}
    assert diagnosed(place) == {"a", "b"}


def test_without_its_record_a_table_does_not_count(place: LocalStorage) -> None:
    place.remove("diagnosis/a.json")
    assert read_diagnoses(place).keys() == {"b"}


def test_what_was_removed_is_gone(place: LocalStorage) -> None:
    remove_diagnosis(place, "a")
    assert set(place.sizes("diagnosis")) == {"b.json", "b.parquet"}
    remove_diagnosis(place, "b")
    assert read_diagnoses(place) == {}


def test_damage_is_reported(place: LocalStorage) -> None:
    data = place.read("diagnosis/a.parquet")
    assert data is not None
    place.write("diagnosis/a.parquet", data[:-1] + b"x")
    with pytest.raises(StoreError, match=r"a\.parquet is not what"):
        read_diagnoses(place)


def test_the_documentation_has_every_column() -> None:
    text = (DOCS / "run-folder.md").read_text("utf-8")
    section = text.split("## `diagnosis`: ")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+)(, null)? \|", section, re.M)
    result = [(name, kind, bool(null)) for name, kind, null in rows]
    assert result == [(f.name, str(f.type), f.nullable) for f in DIAGNOSIS_SCHEMA]


def test_the_documentation_has_every_quantity() -> None:
    """With the question that it answers, in their order, and every judge."""
    text = (DOCS / "diagnose.md").read_text("utf-8")
    result = [
        (name, int(question))
        for names, question in re.findall(r"^\| (`[\w`, ]+`) \| (\d) \|", text, re.M)
        for name in re.findall(r"`(\w+)`", names)
    ]
    assert result == [(name, quantity.question) for name, quantity in QUANTITIES.items()]
    assert all(f"`{judge}`" in text for judge in JUDGES)


def test_values_that_no_writer_writes_are_refused(place: LocalStorage) -> None:
    """Though the record's digest is that of the file."""
    good = one_row("c")
    index = good.schema.get_field_index("value")
    odd = good.set_column(index, good.schema.field(index), [[float("nan")]])
    for table, message in (
        (odd, "value nan for x of item x"),
        (pa.concat_tables([good] * 2), "2 rows"),
    ):
        write_diagnosis(place, "c", Diagnosis(table))
        with pytest.raises(StoreError, match=message):
            read_diagnoses(place)


@pytest.mark.parametrize(
    ("text", "named"), [(b'{"errors": ["x"]}', "errors"), (b'{"counts": {"fit": 1}}', "fit")]
)
def test_a_record_of_another_form_is_refused_by_file_and_field(
    place: LocalStorage, text: bytes, named: str
) -> None:
    place.write("diagnosis/a.json", text)
    with pytest.raises(StoreError, match=rf"a\.json: .*{named}"):
        read_diagnoses(place)
