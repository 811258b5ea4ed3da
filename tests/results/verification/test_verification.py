"""What `verify` finds in a run that was tampered with, and that it finds nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from lm_eval_log import item_id, sample, write_log

from steereval.results.lm_eval.import_samples import NewArm, import_samples
from steereval.results.lm_eval.sample_files import read_sample_file
from steereval.results.report import build_report, report_reader
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification import Finding, verify_tables

RUN = FakeRun(
    (FakeMethod("helps", (1.0, 2.0), lambda task, strength: 0.3),),
    (FakeTask("truth", n_validation=10, n_test=30, item_id=item_id),),
    fit_seeds=(0, 1),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(RUN, tmp_path_factory.mktemp("whole") / "run")
    build_report(run)
    return run.path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(whole, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def findings_of(run: RunFolder, report: Path | None = None, strict: bool = True) -> list[Finding]:
    return list(verify_tables(run, report_reader(run, report), strict))


def wrong(run: RunFolder, strict: bool = True) -> list[str]:
    return [str(finding) for finding in findings_of(run, strict=strict) if finding.is_wrong]


def some_cell(run: RunFolder, method: str = "helps") -> str:
    cells = run.read_manifest().cells
    return next(cell.cell_id for cell in cells if cell.method == method)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def rewritten(run: RunFolder, cell: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rows changed by someone who also writes a record that fits them."""
    items, responses = run.read_cell(cell)
    run.write_cell(cell, change(items), responses, run.records()[cell])


def first_value_flipped(items: pa.Table) -> pa.Table:
    values = items["value"].to_pylist()
    test = items["split"].to_pylist().index("test")
    values[test] = 1.0 - values[test]
    place = items.schema.get_field_index("value")
    return items.set_column(place, items.schema.field(place), [values])


def test_a_run_as_it_was_written_has_nothing_wrong(run: RunFolder) -> None:
    assert findings_of(run) == []


@pytest.mark.slow
def test_an_imported_arm_is_as_good_as_another(run: RunFolder, tmp_path: Path) -> None:
    samples = write_log(tmp_path, [sample(i, {"acc": 1.0}) for i in range(40)])
    import_samples(run, [read_sample_file(samples)], NewArm("hf", "tiny"))
    assert any(
        "leaderboard.parquet" in finding for finding in wrong(run)
    )  # it is older than the import
    build_report(run)
    assert findings_of(run) == []


@pytest.mark.parametrize("folder", ["cells", "responses"])
def test_a_changed_and_a_removed_file(run: RunFolder, folder: str) -> None:
    path = run.path / folder / f"{some_cell(run)}.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert any(f"{some_cell(run)} (helps" in each and "other contents" in each
               for each in wrong(run))  # fmt: skip
    path.unlink()
    assert any(some_cell(run) in each and "is missing" in each for each in wrong(run))


def test_a_removed_record(run: RunFolder) -> None:
    (run.path / "cells" / f"{some_cell(run)}.json").unlink()
    findings = wrong(run)
    assert f"the cell {some_cell(run)} is planned and has no record" in findings[0]


def test_a_damaged_record(run: RunFolder) -> None:
    (run.path / "cells" / f"{some_cell(run)}.json").write_text("{")
    (finding,) = wrong(run)
    assert "is damaged" in finding


def test_a_row_that_was_changed_together_with_its_record(run: RunFolder) -> None:
    """The hashes fit, the report does not."""
    rewritten(run, some_cell(run, "none"), first_value_flipped)
    findings = "\n".join(wrong(run))
    assert "score is" in findings
    assert "by the rows" in findings
    assert "items.jsonl: line" in findings


def test_rows_that_are_not_what_the_record_counts(run: RunFolder) -> None:
    path = run.path / "cells" / f"{some_cell(run)}.json"
    edit(path, lambda record: record["counts"].update(rows=7))
    (finding,) = wrong(run)
    assert "'rows': 40" in finding
    assert "'rows': 7" in finding


def test_answers_about_other_items(run: RunFolder) -> None:
    cell = some_cell(run)
    items, responses = run.read_cell(cell)
    remaining = items.filter(pc.not_equal(items["item_id"], item_id("", 3)))
    run.write_cell(cell, remaining, responses, run.records()[cell])
    assert any("1 items have responses and no scores" in each for each in wrong(run))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(strength=9.0), "strength is 1.0 in its identity and 9.0 in the mani"),
        (lambda c: c.update(method="other"), "method is ['helps'] in its rows and 'other' in the"),
        (lambda c: c.update(cell_id="feedfeedfeedfeed"), "the cell feedfeedfeedfeed is planned"),
        (lambda c: c.update(cell_id="feedfeedfeedfeed"), "the manifest does not plan this cell"),
    ],
)
def test_a_changed_manifest(
    run: RunFolder, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(run.path / "manifest.json", lambda manifest: change(manifest["cells"][1]))
    assert any(message in each for each in wrong(run)), wrong(run)


def test_a_manifest_that_analyses_otherwise_than_the_report(run: RunFolder) -> None:
    edit(run.path / "manifest.json", lambda m: m["analysis"].update(confidence=0.9))
    assert any("score_low is" in each and "more figures" in each for each in wrong(run))


def test_a_manifest_that_says_nothing(run: RunFolder) -> None:
    (run.path / "manifest.json").write_text('{"schema_version": 1}')
    findings = wrong(run)
    for field in ("name", "cells", "tasks", "methods", "analysis"):
        assert any(f"manifest.json: {field}: " in line for line in findings), field


def test_a_field_of_another_form_is_named_with_its_file(run: RunFolder) -> None:
    cell = some_cell(run)
    edit(run.path / "cells" / f"{cell}.json", lambda record: record["timings"].update(seconds="2"))
    edit(run.path / "manifest.json", lambda m: m["tasks"]["truth"].update(margin="none"))
    findings = wrong(run)
    assert any(f"cells/{cell}.json: timings.seconds: " in line for line in findings)
    assert any("manifest.json: tasks.truth.margin: " in line for line in findings)


def test_a_changed_identity(run: RunFolder) -> None:
    path = run.path / "cells" / f"{some_cell(run)}.json"
    edit(path, lambda record: record["identity"]["method"].update(options={"steps": 3}))
    (finding,) = wrong(run)
    assert "its identity has the id" in finding
    edit(path, lambda record: record.pop("identity"))
    assert "holds no identity" in wrong(run)[0]


def test_a_changed_version(run: RunFolder) -> None:
    """Of a cell, of the manifest, and of what is installed."""
    path = run.path / "cells" / f"{some_cell(run)}.json"
    edit(path, lambda record: record["environment"]["versions"].update(pyarrow="1.0"))
    (finding,) = wrong(run)
    assert "pyarrow: 1 cells ran on 1.0, and the manifest names" in finding
    edit(run.path / "manifest.json", lambda m: m["versions"].update(pyarrow="1.0"))
    finding = "\n".join(wrong(run))
    assert "4 cells ran on" in finding
    assert "is installed, and the run was made with 1.0" in finding


def test_other_installed_versions_may_be_allowed(run: RunFolder) -> None:
    edit(run.path / "manifest.json", lambda m: m["versions"].update(nowhere="1.0"))
    (finding,) = wrong(run)
    assert "nowhere: no version is installed" in finding
    assert wrong(run, strict=False) == []
    assert [f.is_wrong for f in findings_of(run, strict=False)] == [False]


def test_a_report_that_does_not_fit_the_rows(run: RunFolder) -> None:
    path = run.path / "report" / "leaderboard.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("difference")
    more = pc.add(table["difference"], 0.01)
    pq.write_table(table.set_column(place, "difference", more), path)
    findings = wrong(run)
    assert any("helps" in each and "difference is" in each for each in findings)
    assert any("leaderboard.csv: it differs from leaderboard.parquet" in each for each in findings)
    pq.write_table(table.slice(1), path)
    assert any("1 rows, and the run gives 2" in each for each in wrong(run))
    pq.write_table(table.select(["model"]), path)
    assert any("other columns" in each for each in wrong(run))
    path.write_bytes(b"nothing")
    assert any("leaderboard.parquet: it cannot be read" in each for each in wrong(run))


def test_figures_may_round_otherwise_elsewhere(run: RunFolder) -> None:
    path = run.path / "report" / "leaderboard.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("difference")
    more = pc.multiply(table["difference"], 1 + 1e-9)
    pq.write_table(table.set_column(place, "difference", more), path)
    assert [each for each in wrong(run) if "csv" not in each] == []


@pytest.mark.parametrize("change", [lambda lines: lines[:-1], lambda lines: [*lines, "{}\n"]])
def test_item_lines_that_do_not_fit(
    run: RunFolder, change: Callable[[list[str]], list[str]]
) -> None:
    path = run.path / "report" / "items.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    (finding,) = wrong(run)
    assert "items.jsonl" in finding
    path.unlink()
    assert "missing" in wrong(run)[0]


def test_without_a_report_there_is_a_note(run: RunFolder) -> None:
    shutil.rmtree(run.path / "report")
    (note,) = findings_of(run)
    assert not note.is_wrong
    assert str(note).startswith("note: report")


def test_a_finding_is_one_line() -> None:
    assert str(Finding("a", "first\n  second")) == "wrong: a: first second"


@pytest.mark.slow
def test_repetitions_are_cells_like_others(tmp_path: Path) -> None:
    run = write_run(replace(RUN, repeated=("none", "helps")), tmp_path / "run")
    build_report(run)
    assert findings_of(run) == []
    cells = run.read_manifest().cells
    place = next(i for i, cell in enumerate(cells) if cell.repeats)
    edit(run.path / "manifest.json", lambda m: m["cells"][place].update(repeats="feed" * 4))
    assert any("it repeats the cell feedfeedfeedfeed" in finding for finding in wrong(run))
