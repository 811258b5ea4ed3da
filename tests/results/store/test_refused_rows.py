"""Rows that are wrong though their file's digest is right: every reader refuses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from lm_eval_log import item_id, sample, write_log

from steereval.common.errors import StoreError
from steereval.results.analysis import power_planning
from steereval.results.analysis.run_comparison import open_run
from steereval.results.lm_eval.import_samples import NewArm, import_samples
from steereval.results.lm_eval.sample_files import read_sample_file
from steereval.results.report import build_report
from steereval.results.report.writers.dataset import write_dataset
from steereval.results.report.writers.item_lines import write_item_lines
from steereval.results.store import parquet
from steereval.results.store.archive import write_archive
from steereval.results.store.query import query
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA
from steereval.results.verification import verify_tables

Change = Callable[[dict[str, Any]], dict[str, Any]]

TASK = FakeTask(
    "truth",
    n_validation=4,
    n_test=8,
    item_id=item_id,
    beside=(
        FakeTask("truth", metric="mc2", kind="bounded", n_validation=4, n_test=8),
        FakeTask("truth", metric="ppl", kind="ratio", n_validation=4, n_test=8),
    ),
)
RUN = FakeRun((FakeMethod("helps", (1.0,)),), (TASK,), fit_seeds=(0, 1))
ITEM = item_id("", 5)
DESIGN = power_planning.Design(power_planning.ITEMS, power_planning.SEEDS, None, 0.8, 0.05)


def read_twice(run: RunFolder, folder: Path) -> None:
    log = write_log(folder, [sample(i, {"acc": 1.0}) for i in range(12)])
    import_samples(run, [read_sample_file(log)], NewArm("hf", "tiny"))


READERS: dict[str, Callable[[RunFolder, Path], object]] = {
    "report": lambda run, folder: build_report(run),
    "query": lambda run, folder: query(run, "select avg(value) from rows"),
    "rows": lambda run, folder: run.read_items(),
    "item lines": lambda run, folder: write_item_lines(run, folder / "items.jsonl"),
    "data set": lambda run, folder: write_dataset(run, folder / "set"),
    "archive": lambda run, folder: write_archive(run, folder / "run.tar.gz"),
    "import": read_twice,
    "compare": lambda run, folder: open_run("first", run),
    "power": lambda run, folder: list(power_planning.plan_from_pilot(run, DESIGN, [], [])),
}

FAULTS: dict[str, tuple[str, Change, str]] = {
    "7 in a binary metric": ("acc", lambda row: row | {"value": 7.0}, "value 7"),
    "half a point": ("acc", lambda row: row | {"value": 0.5}, "value 0.5"),
    "infinite in a binary metric": ("acc", lambda row: row | {"value": np.inf}, "value inf"),
    "above 1 in a bounded metric": ("mc2", lambda row: row | {"value": 1.01}, "value 1.01"),
    "below 0 in a bounded metric": ("mc2", lambda row: row | {"value": -0.2}, "value -0.2"),
    "NaN": ("ppl", lambda row: row | {"value": np.nan}, "value nan"),
    "no weight": ("acc", lambda row: row | {"weight": 0.0}, "weight 0"),
    "weight of 2": ("acc", lambda row: row | {"weight": 2.0}, "weight 2"),
    "no tokens": ("ppl", lambda row: row | {"weight": 0.0}, "weight 0"),
    "tokens below 0": ("ppl", lambda row: row | {"weight": -1.0}, "weight -1"),
    "NaN tokens": ("ppl", lambda row: row | {"weight": np.nan}, "weight nan"),
    "infinite tokens": ("ppl", lambda row: row | {"weight": np.inf}, "weight inf"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(RUN, tmp_path_factory.mktemp("whole") / "run").path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(whole, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def rewrite(run: RunFolder, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> str:
    """Other rows for the baseline's cell, with a record that fits them; the cell's id."""
    cell = run.read_manifest().cells[0].cell_id
    rows = change(run.read_cell(cell)[0].to_pylist())
    data = parquet.encode(pa.Table.from_pylist(rows, schema=ITEM_SCHEMA), ITEM_SCHEMA, "rows")
    (run.path / f"cells/{cell}.parquet").write_bytes(data)
    record = run.path / f"cells/{cell}.json"
    content = json.loads(record.read_text())
    content["files"]["items"] = parquet.digest(data)
    record.write_text(json.dumps(content))
    return cell


def with_fault(run: RunFolder, fault: str) -> str:
    metric, change, _ = FAULTS[fault]
    return rewrite(
        run,
        lambda rows: [
            change(row) if (row["metric"], row["item_id"]) == (metric, ITEM) else row
            for row in rows
        ],
    )


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_a_value_that_the_metric_cannot_have(
    run: RunFolder, tmp_path: Path, reader: str
) -> None:
    READERS[reader](RunFolder(run.path), tmp_path)
    cell = with_fault(run, "7 in a binary metric")
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(StoreError) as refused:
        READERS[reader](RunFolder(run.path), again)
    text = str(refused.value)
    assert all(part in text for part in (cell, "value 7", "metric acc", ITEM, f"{cell}.parquet"))
    assert not (again / "set").exists()
    assert not (again / "run.tar.gz").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_no_reader_gets_around_the_check(run: RunFolder, fault: str) -> None:
    cell = with_fault(run, fault)
    metric, _, message = FAULTS[fault]
    fresh = RunFolder(run.path)
    for read in (fresh.read_items, lambda: fresh.read_cell(cell), lambda: list(fresh.iter_items())):
        with pytest.raises(StoreError) as refused:
            read()
        assert f"{message} for the metric {metric} of item {ITEM}" in refused.value.problem
    (finding,) = [f for f in verify_tables(fresh, lambda name: None, True) if cell in f.where]
    assert finding.is_wrong
    assert ITEM in finding.what


def test_two_rows_for_one_item_are_refused(run: RunFolder) -> None:
    cell = rewrite(run, lambda rows: [*rows, rows[5]])
    with pytest.raises(StoreError) as refused:
        build_report(RunFolder(run.path))
    assert all(part in refused.value.problem for part in (cell, "2 rows", "acc", ITEM))


def test_a_text_without_tokens_weighs_nothing_and_sums_to_nothing(run: RunFolder) -> None:
    """The perplexity of an empty answer: the only row that may weigh 0."""
    empty = {"value": -0.0, "weight": 0.0}
    rewrite(
        run,
        lambda rows: [
            row | empty if (row["metric"], row["item_id"]) == ("ppl", ITEM) else row for row in rows
        ],
    )
    assert len(RunFolder(run.path).read_items()) == 3 * 3 * 12


def test_a_sum_of_probabilities_may_round_beyond_1(run: RunFolder) -> None:
    rewrite(
        run,
        lambda rows: [
            row | {"value": 1.0 + 1e-9} if row["metric"] == "mc2" else row for row in rows
        ],
    )
    assert len(RunFolder(run.path).read_items()) == 3 * 3 * 12


def test_an_undeclared_metric_may_have_any_value_but_nan(run: RunFolder) -> None:
    rewrite(run, lambda rows: [*rows, *[row | {"metric": "length", "value": 7.0} for row in rows
                                        if row["metric"] == "acc"]])  # fmt: skip
    assert len(RunFolder(run.path).read_items()) == 3 * 3 * 12 + 12


def test_the_writer_refuses_too_and_leaves_the_cell_as_it_was(run: RunFolder) -> None:
    cell = run.read_manifest().cells[0].cell_id
    items, responses = run.read_cell(cell)
    values = [7.0, *items["value"].to_pylist()[1:]]
    place = items.schema.get_field_index("value")
    wrong = items.set_column(place, items.schema.field(place), [values])
    with pytest.raises(StoreError, match="value 7"):
        run.write_cell(cell, wrong, responses, run.read_record(cell))
    assert run.read_cell(cell)[0].equals(items)


def test_samples_outside_the_range_are_not_imported(run: RunFolder, tmp_path: Path) -> None:
    before = run.read_manifest()
    log = write_log(tmp_path, [sample(i, {"acc": 7.0}) for i in range(12)])
    with pytest.raises(StoreError, match="value 7 for the metric acc"):
        import_samples(run, [read_sample_file(log)], NewArm("hf", "tiny"))
    assert run.read_manifest() == before
