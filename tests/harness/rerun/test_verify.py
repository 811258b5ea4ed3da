"""`verify` on a real run: the grid planned again, artefacts, cells run once more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from steereval.harness.cli.main import main
from steereval.harness.config.grid import parse_grid
from steereval.harness.rerun.verify import Again, check_grid, run_again
from steereval.harness.run.attempt import GroupResult
from steereval.harness.run.driver import run_grid
from steereval.ray_jobs.work import Done
from steereval.results.report import build_report
from steereval.results.store.run_folder import RunFolder

pytestmark = pytest.mark.slow

LIMIT = 6


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contrast and a vector, which cells read by path."""
    folder = tmp_path_factory.mktemp("inputs")
    pairs = [{"question": f"Is {n}?", "positive": "Yes.", "negative": "No."} for n in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    save_file({"layer.1": torch.ones(32)}, folder / "vector.safetensors")
    return folder


@pytest.fixture(scope="module")
def whole(tiny_folder: str, inputs: Path) -> Path:
    grid = parse_grid(
        {
            "name": "small",
            "models": [{"name": tiny_folder, "layers": [1]}],
            "contrast": {"name": str(inputs / "pairs.jsonl"), "fraction": 0.5},
            "methods": [
                "none",
                {"name": "caa", "strengths": [1]},
                {"name": "vector", "strengths": [1],
                 "options": {"path": str(inputs / "vector.safetensors")}},
            ],
            "tasks": [{"name": "truthful_mini_mc", "limit": LIMIT}],
            "seeds": {"fit": [0, 1]},
            "select": {"on": "validation"},
            "noise_floor": {"method": "caa"},
        }
    )  # fmt: skip
    out = inputs / "run"
    assert run_grid(grid, out, None, lambda line: None).failed == ()
    build_report(RunFolder(out))
    return out


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(whole, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def findings_of(run: RunFolder) -> list[str]:
    return [str(finding) for finding in check_grid(run, None)]


def again(run: RunFolder, cells: int = 9) -> tuple[list[str], list[str]]:
    said: list[str] = []
    result = run_again(run, Again(cells, 1e-3, "cpu", None), said.append)
    return [str(finding) for finding in result], said


def cell_of(run: RunFolder, method: str) -> str:
    cells = run.read_manifest().cells
    return next(cell.cell_id for cell in cells if cell.method == method)


def test_a_run_as_it_was_made(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command; all of its cells run again give the same values and steerers."""
    assert main(["verify", str(run.path), "--cells", "9", "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{run.path}: nothing wrong\n"
    assert shown.err.count("values agree") == 6


def test_the_command_counts_what_is_wrong(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.path / "cells" / f"{cell_of(run, 'caa')}.parquet"
    path.unlink()
    assert main(["verify", str(run.path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("wrong: ") and "is missing" in line for line in lines)
    assert lines[-1].endswith(f"{len(lines) - 1} wrong")
    assert main(["verify", str(run.path), "--cells", "-1"]) == 2


def test_a_changed_artefact(run: RunFolder, inputs: Path) -> None:
    """A vector, or the contrast that others were fitted to: hashes are part of the ids."""
    vector, pairs = inputs / "vector.safetensors", inputs / "pairs.jsonl"
    data = vector.read_bytes(), pairs.read_bytes()
    try:
        save_file({"layer.1": 2 * torch.ones(32)}, vector)
        (result,) = findings_of(run)
        assert result.startswith("wrong: vector T=1")
        assert "the content of the files that it reads (files_digest) was" in result
        pairs.write_bytes(data[1] + data[1].splitlines(keepends=True)[0].replace(b"0", b"99"))
        both = "\n".join(findings_of(run))
        assert "caa T=1 layer 1 seed 0" in both
        assert "and 2 more cells" in both
        assert "manifest: contrasts." in both
        pairs.unlink()
        (note,) = findings_of(run)
        assert note.startswith("note: grid: it cannot be planned again")
    finally:
        vector.write_bytes(data[0])
        pairs.write_bytes(data[1])
    assert findings_of(run) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["analysis"].update(confidence=0.9), "analysis.confidence is 0.9; the grid"),
        (lambda m: m["tasks"]["truthful_mini_mc"].update(margin=0.1), "truthful_mini_mc.margin"),
        (lambda m: m["methods"]["caa"].update(unit="relative"), "methods.caa.unit is"),
        (lambda m: m["grid"]["seeds"].update(fit=[0]), "plans this cell, and its grid does not"),
        (lambda m: m["grid"]["seeds"].update(fit=[0, 1, 2]), "and the manifest lacks it"),
        (lambda m: m["grid"]["tasks"][0].update(limit=3), "task.limit was 6 and is 3 now"),
        (lambda m: m["grid"].update(colour=3), "wrong: grid: it cannot be planned again"),
    ],
)
def test_a_changed_manifest(
    run: RunFolder, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(run.path / "manifest.json", change)
    result = findings_of(run)
    assert any(message in each for each in result), result


def test_a_row_that_never_was_is_found_by_running_its_cell_again(run: RunFolder) -> None:
    """Record, hashes and report all fit it."""
    cell = cell_of(run, "caa")
    items, responses = run.read_cell(cell)
    place = items.schema.get_field_index("value")
    values = items["value"].to_pylist()
    assert values[0] in (0.0, 1.0)
    values[0] = 1.0 - values[0]
    changed = items.set_column(place, items.schema.field(place), pa.array(values))
    run.write_cell(cell, changed, responses, run.records()[cell])
    build_report(run)
    assert main(["verify", str(run.path)]) == 0
    result, said = again(run)
    (only,) = result
    assert f"run again, 1 of {2 * LIMIT} values differ by more than 0.001 (by 1 at most)" in only
    assert len(said) == 5


def test_steerers_that_are_not_those_of_the_record(run: RunFolder) -> None:
    def other(record: dict[str, Any]) -> None:
        record["steerers"][0].update(steerers_sha256="0" * 64, contrast_hash="abc")

    record = run.path / "cells" / f"{cell_of(run, 'caa')}.json"
    edit(record, other)
    result, _ = again(run)
    assert any('steerers[0].contrast_hash was "abc"' in each for each in result)
    assert any(each.startswith("wrong:") and "last bit" in each for each in result)
    edit(record, lambda values: values["environment"].update(host="another"))
    result, _ = again(run)
    assert any(each.startswith("note:") and "another machine" in each for each in result)


def test_as_many_cells_as_asked_for_and_always_the_same(run: RunFolder) -> None:
    result, said = again(run, 1)
    assert result == []
    assert len(said) == 1
    assert again(run, 1) == ([], said)


def test_a_cell_that_fails_now(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(_: Any, group: Any, last: bool) -> Done:
        return Done(GroupResult({cell.id: "no memory" for cell in group}, 0))

    monkeypatch.setattr("steereval.harness.rerun.verify.CellWorker.run", failed)
    result, _ = again(run, 1)
    assert "it failed when it was run again: no memory" in result[0]


def test_an_archive_is_checked_as_it_is(run: RunFolder, tmp_path: Path) -> None:
    archive = tmp_path / "run.tar.gz"
    assert main(["archive", str(run.path), "--out", str(archive)]) == 0
    assert main(["verify", str(archive)]) == 0
    archive.write_bytes(archive.read_bytes()[:-100])
    assert main(["verify", str(archive)]) == 1
