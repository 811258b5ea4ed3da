"""Imported arms: paired by document, with the run's clusters and splits."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from killed import Killed, killed_at
from lm_eval_log import item_id, sample, write_log

from steereval.common.errors import CellError, InputError, SteerEvalError, StoreError
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.lm_eval import import_samples as importing
from steereval.results.lm_eval.import_samples import Imported, NewArm, carry_imports, import_samples
from steereval.results.lm_eval.sample_files import read_sample_file
from steereval.results.lm_eval.samples import as_number, scores_of
from steereval.results.report import build_report, report_reader
from steereval.results.store.identity import id_of
from steereval.results.store.lease import FILE, driving
from steereval.results.store.manifest import ImportedArms, parse_plan
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification import verify_tables

N = 40
TASK = FakeTask("truth", n_validation=10, n_test=N - 10, n_clusters=5, item_id=item_id)
RUN = FakeRun((FakeMethod("helps", (1.0,), lambda task, strength: 0.3),), (TASK,), fit_seeds=(0, 1))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(RUN, tmp_path / "run")


def cell_rows(run: RunFolder, method: str, metric: str = "acc") -> dict[str, dict[str, Any]]:
    return {
        row["item_id"]: row
        for row in run.read_items().to_pylist()
        if (row["method"], row["metric"]) == (method, metric) and row["fit_seed"] in (None, 0)
    }


def log(run: RunFolder, folder: Path, items: range = range(N), **changes: Any) -> Path:
    """What lm-eval would have written for the run's own unsteered model."""
    values = {item: row["value"] for item, row in cell_rows(run, "none").items()}
    lines = [sample(i, {"acc": values.get(item_id("", i), 1.0)}) for i in items]
    return write_log(folder, lines, **changes)


def imported(run: RunFolder, *paths: Path, **arm: Any) -> list[Imported]:
    files = [read_sample_file(path) for path in paths]
    return import_samples(run, files, NewArm(**({"label": "hf", "model": "tiny"} | arm)))


def effects(analysis: Analysis) -> dict[str, tuple[float, float, float]]:
    return {
        row.arm.method: (e.estimate, e.se, e.p_value)
        for row in analysis.rows
        if row.comparison is not None and (e := row.comparison.effect)
    }


def test_as_the_baseline_it_gives_the_differences_of_the_own_one(
    run: RunFolder, tmp_path: Path
) -> None:
    before = effects(analyse(run))
    (message,) = imported(run, log(run, tmp_path), is_baseline=True)
    assert (message.n_items, message.n_foreign, message.n_lacking, message.n_other_prompts) == (
        N,
        0,
        0,
        0,
    )
    analysis = analyse(run)
    after = effects(analysis)
    assert after["helps"] == before["helps"]
    assert after["none"][0] == 0.0
    assert analysis.plan.baseline == "hf"
    assert analysis.cells.done == analysis.cells.planned == 4
    assert any("hf (imported) on truth, tiny: lm-eval 0.4.13" in note for note in analysis.notes)


def test_rows_carry_the_clusters_and_splits_of_the_run(run: RunFolder, tmp_path: Path) -> None:
    imported(run, log(run, tmp_path))
    computed, new = cell_rows(run, "none"), cell_rows(run, "hf")
    assert computed.keys() == new.keys()
    for name in ("split", "cluster_id", "value", "weight", "higher_is_better"):
        assert [computed[i][name] for i in computed] == [new[i][name] for i in computed]
    assert {row["fold"] for row in new.values()} == {None}
    responses = {r["item_id"]: r["prompt"] for r in run.read_responses().to_pylist()}
    assert responses.keys() == computed.keys()


def test_the_record_says_where_it_comes_from(run: RunFolder, tmp_path: Path) -> None:
    path = log(run, tmp_path)
    imported(run, path)
    (record,) = (r for r in run.records().values() if r.imported)
    assert record.imported.sha256 == read_sample_file(path).sha256
    assert record.imported.model_args["dtype"] == "float32"
    assert record.cell_id == id_of(record.identity)


def test_the_same_file_again_changes_nothing(run: RunFolder, tmp_path: Path) -> None:
    path = log(run, tmp_path)
    (first,) = imported(run, path)
    before, manifest = run.records(), run.read_manifest()
    (second,) = imported(run, path, sample_seed=0)
    assert (first.is_new, second.is_new) == (True, False)
    assert run.records() == before
    assert run.read_manifest() == manifest
    (third,) = imported(run, path, path)
    assert not third.is_new


def test_an_import_that_was_cut_off_is_done_again(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log(run, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_cell", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            imported(run, path)
    assert analyse(run).cells.planned == 3
    assert imported(run, path)[0].is_new
    assert analyse(run).cells.pending == 0


def test_the_same_file_pairs_with_items_that_came_later(run: RunFolder, tmp_path: Path) -> None:
    path = log(run, tmp_path, range(N + 5))
    (first,) = imported(run, path)
    assert (first.n_items, first.n_foreign) == (N, 5)
    more = FakeTask("truth", n_validation=10, n_test=N - 5, n_clusters=5, item_id=item_id)
    grown = FakeRun(RUN.methods, (more,), fit_seeds=(0, 1))
    manifest = run.read_manifest()
    write_run(grown, run.path)
    run.write_manifest(run.read_manifest().model_copy(update={"imported": manifest.imported}))
    (second,) = imported(run, path)
    assert (second.n_items, second.n_foreign, second.is_new) == (N + 5, 0, True)


def test_other_samples_under_the_same_label_are_refused(run: RunFolder, tmp_path: Path) -> None:
    imported(run, log(run, tmp_path))
    before = run.read_manifest()
    other = log(run, tmp_path / "other", range(N - 1))
    with pytest.raises(InputError, match=r"'hf' has other samples of truth.*--label"):
        imported(run, other)
    assert run.read_manifest() == before
    imported(run, other, label="hf again")
    assert {arm.method for arm in parse_plan_arms(run)} == {"none", "helps", "hf", "hf again"}


def parse_plan_arms(run: RunFolder) -> list[Any]:
    return [row.arm for row in analyse(run).rows]


def test_items_that_only_one_side_has_are_counted(run: RunFolder, tmp_path: Path) -> None:
    (message,) = imported(run, log(run, tmp_path, range(5, N + 7)))
    assert (message.n_items, message.n_foreign, message.n_lacking) == (N - 5, 7, 5)
    text = "\n".join(message.lines("hf"))
    assert "35 items of truth pair" in text
    assert "7 items left out" in text
    assert "5 items of the run lacking" in text
    assert len(cell_rows(run, "hf")) == N - 5


def test_documents_of_another_task_do_not_pair(run: RunFolder, tmp_path: Path) -> None:
    path = log(run, tmp_path, range(N, N + 5))
    with pytest.raises(InputError, match="none of the documents"):
        imported(run, path)
    assert run.read_manifest().imported is None


def test_one_bad_file_of_several_leaves_the_run_alone(run: RunFolder, tmp_path: Path) -> None:
    good = log(run, tmp_path)
    bad = log(run, tmp_path, range(N, N + 5), date="2026-01-01T00-00-00.1")
    before = run.records()
    with pytest.raises(InputError):
        imported(run, good, bad)
    assert run.records() == before
    assert run.read_manifest().imported is None


def test_other_prompts_are_reported(run: RunFolder, tmp_path: Path) -> None:
    shots = {"gen_args_0": {"arg_0": "Q: first\n\nQ: then\nA:", "arg_1": " An answer."}}
    lines = [sample(i, {"acc": 1.0}, **({"arguments": shots} if i < 3 else {})) for i in range(N)]
    (message,) = imported(run, write_log(tmp_path, lines))
    assert message.n_other_prompts == 3
    assert "3 items with other prompts" in "\n".join(message.lines("hf"))
    assert any("3 of its items have other prompts" in n for n in analyse(run).notes)


def test_all_metrics_come_along_and_one_without_direction_is_reported(
    run: RunFolder, tmp_path: Path
) -> None:
    """`acc` by the run, `f` by lm-eval's results, `nll` as a ratio; of `odd` nobody knows."""
    lines = [
        sample(i, {"acc": 1.0, "f": 0.5, "nll": [-3.0, 7], "odd": 2.0, "text": "no number"})
        for i in range(N)
    ]
    better = {"truth": {"acc": False, "f": True, "nll": False, "text": True}}
    (message,) = imported(run, write_log(tmp_path, lines, higher_is_better=better))
    assert message.undirected == ("odd",)
    rows = [row for row in run.read_items().to_pylist() if row["method"] == "hf"]
    result = {row["metric"]: (row["value"], row["weight"], row["higher_is_better"]) for row in rows}
    assert result == {"acc": (1, 1, True), "f": (0.5, 1, True), "nll": (3, 7, False)}
    (record,) = (r for r in run.records().values() if r.imported)
    assert record.metrics_without_numbers == ["text"]
    assert record.metrics_without_direction == ["odd"]


def test_filters_are_part_of_the_metric(run: RunFolder, tmp_path: Path) -> None:
    lines = [sample(i, {"acc": float(name == "a")}, filter=name) for name in "ab" for i in range(N)]
    (message,) = imported(run, write_log(tmp_path, lines))
    assert message.n_items == N
    rows = [row for row in run.read_items().to_pylist() if row["method"] == "hf"]
    assert {(row["metric"], row["value"]) for row in rows} == {("acc:a", 1.0), ("acc:b", 0.0)}
    assert run.read_responses().num_rows == N * 4


def test_a_score_that_is_nan_stops_the_import(run: RunFolder, tmp_path: Path) -> None:
    lines = [sample(i, {"acc": float("nan")}) for i in range(N)]
    with pytest.raises(CellError, match="acc of document 0 in truth is not a number"):
        imported(run, write_log(tmp_path, lines))


def test_labels_models_and_tasks_that_do_not_fit(run: RunFolder, tmp_path: Path) -> None:
    path = log(run, tmp_path)
    with pytest.raises(InputError, match="'helps' is a method"):
        imported(run, path, label="helps")
    with pytest.raises(InputError, match="label is empty"):
        imported(run, path, label=" ")
    with pytest.raises(InputError, match=r"no model 'tine'.*'tiny'"):
        imported(run, path, model="tine")
    with pytest.raises(InputError, match=r"task 'truths'.*'truth'"):
        imported(run, log(run, tmp_path, task="truths"))


def test_a_run_without_finished_cells_has_nothing_to_pair_with(tmp_path: Path) -> None:
    failing = FakeRun(RUN.methods, (TASK,), fails=lambda cell: True)
    run = write_run(failing, tmp_path / "run")
    lines = [sample(i, {"acc": 1.0}) for i in range(N)]
    with pytest.raises(InputError, match="no finished cell of tiny on truth"):
        imported(run, write_log(tmp_path, lines))


@pytest.mark.slow
def test_several_sample_seeds_want_to_be_named(tmp_path: Path) -> None:
    seeds = FakeRun(RUN.methods, (TASK,), fit_seeds=(0,), sample_seeds=(0, 7))
    run = write_run(seeds, tmp_path / "run")
    one = log(run, tmp_path)
    two = log(run, tmp_path, date="2026-01-01T00-00-00.1")
    with pytest.raises(InputError, match=r"several values of sample_seed.*0, 7.*--sample-seed"):
        imported(run, one)
    with pytest.raises(InputError, match="no sample_seed 3"):
        imported(run, one, sample_seed=3)
    imported(run, one, sample_seed=0, is_baseline=True)
    imported(run, two, sample_seed=7)
    by_method = {row.arm.method: row for row in analyse(run).rows}
    comparison = by_method["helps"].comparison
    assert comparison is not None
    values = comparison.values
    assert set(np.unique(values)) <= {-1.0, -0.5, 0.0, 0.5, 1.0}


@pytest.mark.slow
def test_the_baseline_can_be_taken_back(run: RunFolder, tmp_path: Path) -> None:
    path = log(run, tmp_path)
    for wanted, baseline in [(True, "hf"), (None, "hf"), (False, "none"), (None, "none")]:
        imported(run, path, is_baseline=wanted)
        assert parse_plan(run.read_manifest()).baseline == baseline


def test_a_baseline_without_the_metric_is_reported(run: RunFolder, tmp_path: Path) -> None:
    lines = [sample(i, {"other": 1.0}) for i in range(N)]
    imported(run, write_log(tmp_path, lines), is_baseline=True)
    row = next(r for r in analyse(run).rows if r.arm.method == "helps" and r.metric.name == "acc")
    assert row.untested == "the baseline has no scores of this metric"


def test_a_method_that_takes_the_label_is_refused(run: RunFolder, tmp_path: Path) -> None:
    imported(run, log(run, tmp_path))
    manifest = run.read_manifest()
    methods = manifest.methods | {"hf": manifest.methods["none"]}
    with pytest.raises(StoreError, match="'hf' is a method of the grid and an imported arm"):
        parse_plan(manifest.model_copy(update={"methods": methods}))


@pytest.mark.slow
def test_the_report_shows_it(run: RunFolder, tmp_path: Path) -> None:
    imported(run, log(run, tmp_path))
    page = build_report(run, tmp_path / "report")
    text = (page.parent / "report.md").read_text()
    assert "hf (imported) on truth" in text
    (line,) = [x for x in text.splitlines() if x.startswith("| hf | imported |")]
    assert line


def test_a_run_that_is_being_run_is_left_alone(run: RunFolder, tmp_path: Path) -> None:
    path = log(run, tmp_path)
    with driving(run.place), pytest.raises(StoreError, match="is being run by process"):
        imported(run, path)
    assert imported(run, path)[0].is_new
    with pytest.raises(StoreError, match="not a run folder"):
        imported(RunFolder(tmp_path / "nowhere"), path)


def state(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a metric named twice": ({"acc": 1.0}, {"metrics": ["acc", "acc"]}),
    "NaN": ({"acc": float("nan")}, {}),
    "no number": ({"acc": "yes"}, {}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_import_that_refuses_leaves_the_folder_as_it_was(
    run: RunFolder, tmp_path: Path, kind: str
) -> None:
    scores, changes = REFUSED[kind]
    before = state(run.path)
    path = write_log(tmp_path / "log", [sample(i, scores, **changes) for i in range(N)])
    with pytest.raises(SteerEvalError):
        imported(run, path)
    assert state(run.path) == before


def test_rows_that_no_analysis_could_use_are_refused_before_anything_is_written(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever reading the file let through."""
    scores = importing.scores_of
    monkeypatch.setattr(importing, "scores_of", lambda *given: [*scores(*given), *scores(*given)])
    path = log(run, tmp_path)
    before = state(run.path)
    with pytest.raises(StoreError, match="2 rows for the metric"):
        imported(run, path)
    assert state(run.path) == before


def test_a_full_disk_leaves_the_run_as_it_was(run: RunFolder, tmp_path: Path) -> None:
    """Whichever file does not fit."""
    path = log(run, tmp_path)
    before = state(run.path)
    for fitting in itertools.count():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", Full(fitting))
            patch.setattr(
                "steereval.results.lm_eval.import_samples.driving", lambda place: nullcontext()
            )
            try:
                imported(run, path)
            except StoreError:
                if run.read_manifest().imported is None:
                    assert state(run.path) == before
                continue
        break
    assert fitting == 4
    assert analyse(run).cells.done == 4


class Full:
    """Files of the disk fit so many times; folders always do."""

    def __init__(self, fitting: int) -> None:
        self._left = fitting

    def __call__(self, descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._left -= 1
            if self._left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
@pytest.mark.parametrize("midway", [False, True])
def test_an_import_that_is_killed_is_done_or_not(
    run: RunFolder, tmp_path: Path, midway: bool
) -> None:
    path = log(run, tmp_path)
    computed = {cell.cell_id for cell in run.read_manifest().cells}
    for change in itertools.count():
        shutil.copytree(run.path, tmp_path / str(change))
        copy = RunFolder(tmp_path / str(change))
        try:
            with killed_at(change, midway):
                imported(copy, path)
        except Killed:
            planned = set(copy.read_manifest().members)
            assert analyse(copy).cells.done - len(computed) <= len(planned) - len(computed) <= 1
            assert {p.stem for p in (copy.path / "cells").glob("*.parquet")} <= planned
            copy.place.remove(FILE)  # the next driver finds this one dead
            imported(copy, path)
        assert analyse(copy).cells.done == analyse(copy).cells.planned == len(computed) + 1
        if change > 12:
            break


def test_values_that_are_not_numbers_are_left_out_and_said(run: RunFolder, tmp_path: Path) -> None:
    """Verification then finds nothing wrong: what is not scored is not asked."""
    values = cell_rows(run, "none")
    lines = [
        sample(i, {"acc": "no number" if i < 3 else values[item_id("", i)]["value"]})
        for i in range(N)
    ]
    (message,) = imported(run, write_log(tmp_path, lines))
    assert message.unnumbered == ("acc",)
    assert (message.n_items, message.n_lacking) == (N - 3, 3)
    assert "acc" in "\n".join(message.lines("hf"))
    findings = verify_tables(run, report_reader(run), True)
    assert [str(finding) for finding in findings if finding.is_wrong] == []


@pytest.mark.parametrize("value", [["a", "b"], ["1", "0"], [1.0, None], 10**400, {"a": 1}, None])
def test_what_is_not_a_number_is_none(value: Any) -> None:
    assert as_number(value) is None


def test_pairs_of_answers_are_not_ratio() -> None:
    """F1 and MCC hold (right answer, chosen answer), a perplexity (log-likelihood, words)."""

    def scored(values: list[Any]) -> list[float]:
        samples = [sample(number, {"f1": value}) for number, value in enumerate(values)]
        return [score.value for score in scores_of(samples, "task")]

    assert scored([[1, 1], [0, 1], [1, 0]]) == []
    assert scored([[0, 1], [0, 1]]) == []
    assert scored([[-3.5, 2], [0.0, 1]]) == [3.5, 0.0]


def test_an_arm_that_pairs_with_nothing_any_more_leaves_with_its_label(
    run: RunFolder, tmp_path: Path
) -> None:
    imported(run, log(run, tmp_path), is_baseline=True)
    before = run.read_manifest()
    now = before.model_copy(update={"imported": None})
    assert carry_imports(before, now) == (before, ())
    other = [c.model_copy(update={"cell_id": f"other{i}"}) for i, c in enumerate(now.cells)]
    carried, lost = carry_imports(before, now.model_copy(update={"cells": other}))
    assert carried.imported == ImportedArms(baseline=None, cells=[])
    assert lost == ("hf",)
    assert carry_imports(None, now) == (now, ())
    with pytest.raises(InputError, match="'hf' is a method of the grid"):
        carry_imports(before, now.model_copy(update={"methods": {"hf": now.methods["none"]}}))
