"""Planted effects must end in the right verdicts, and gaps must be counted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from fake_run import (
    FakeMethod,
    FakeRun,
    FakeTask,
    cells_of,
    facts,
    item_table,
    manifest_of,
    planted,
    response_table,
    write_run,
)

from steereval.common.errors import StoreError
from steereval.results.analysis.comparison import WITH_MCNEMAR
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.analysis.verdicts import VOCABULARY
from steereval.results.store.run_folder import RunFolder

Floats = npt.NDArray[np.float64]
Write = Callable[[FakeRun], Analysis]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a fake run and analyse it."""
    number = iter(range(100))
    return lambda run: analyse(write_run(run, tmp_path / str(next(number))))


@pytest.fixture(scope="module")
def analysis(planted_run: RunFolder) -> Analysis:
    return analyse(planted_run)


def row_of(analysis: Analysis, task: str, method: str, **more: Any) -> Row:
    rows = [
        row
        for row in analysis.rows
        if (row.task.name, row.arm.method) == (task, method)
        and all(getattr(row, name) == value for name, value in more.items())
    ]
    assert len(rows) == 1
    return rows[0]


def word(analysis: Analysis, task: str, method: str) -> str | None:
    verdict = row_of(analysis, task, method).verdict
    return verdict.word if verdict is not None else None


def simple(effect: float = 0.0, **changes: Any) -> FakeRun:
    run = FakeRun(
        methods=(FakeMethod("caa", (1.0,), lambda task, strength: effect),),
        tasks=(FakeTask("truth", kind="continuous"),),
    )
    return dataclasses.replace(run, **changes)


def test_planted_effects_end_in_the_right_verdicts(analysis: Analysis) -> None:
    assert word(analysis, "truth", "helps") == "better"
    assert word(analysis, "truth", "nothing") == "inconclusive"
    assert word(analysis, "truth", "harms") == "worse"
    # less toxicity is better, so what lowers every score improves here
    assert word(analysis, "toxicity", "harms") == "better"
    assert word(analysis, "capability", "helps") in ("non-inferior", "equivalent")
    assert word(analysis, "capability", "harms") == "worse"
    assert all(row.verdict.word in VOCABULARY for row in analysis.rows if row.verdict is not None)


def test_an_inconclusive_verdict_says_what_the_design_detects(analysis: Analysis) -> None:
    row = row_of(analysis, "truth", "nothing")
    assert row.verdict is not None
    assert row.mde is not None
    assert row.verdict.sentence.endswith(f"this design detects {100 * row.mde:.1f} or more")
    assert " points [" in row.verdict.sentence


def test_strengths_are_chosen_on_validation_items(analysis: Analysis) -> None:
    row = row_of(analysis, "truth", "helps")
    assert set(row.strengths.values()) == {2.0}
    assert row.how_chosen.startswith("on validation items of truth by acc")
    assert row.n_candidates == 3
    assert row.validation_score is not None
    assert row.score is not None
    assert abs(row.validation_score - row.score.mean) < 0.15
    assert row.score.n_items == 240
    # a capability has no choice of its own: it takes the first target's
    capability = row_of(analysis, "capability", "helps")
    assert capability.strengths == row.strengths
    assert capability.validation_score is None


@pytest.mark.slow
def test_test_items_have_no_say_in_the_choice(tmp_path: Path, analysis: Analysis) -> None:
    def spoiled(cell: dict[str, Any], values: Floats) -> Floats:
        changed = values.copy()
        if cell["task"] == "truth" and cell["strength"] == 4.0:
            changed[60:] = 1.0
        return changed

    run = dataclasses.replace(planted(), value=spoiled)
    row = row_of(analyse(write_run(run, tmp_path)), "truth", "helps")
    assert row.strengths == row_of(analysis, "truth", "helps").strengths


def test_ties_go_to_the_smaller_strength(write: Write) -> None:
    run = simple(value=lambda cell, values: np.full_like(values, 0.5))
    tied = dataclasses.replace(run, methods=(FakeMethod("caa", (2.0, 1.0, 3.0)),))
    assert set(row_of(write(tied), "truth", "caa").strengths.values()) == {1.0}


def test_the_estimate_is_the_plain_mean_of_paired_differences(tmp_path: Path) -> None:
    run = simple(0.3)
    folder = write_run(run, tmp_path)
    row = row_of(analyse(folder), "truth", "caa")
    frame = folder.read_items().to_pandas()
    frame = frame[frame["split"] == "test"]
    means = frame.groupby("method")["value"].mean()
    assert row.comparison is not None
    assert row.comparison.effect.estimate == pytest.approx(means["caa"] - means["none"])
    assert row.comparison.effect.n_seeds == 5
    assert row.comparison.effect.n_items == 240


def test_holm_holds_within_methods_times_targets(analysis: Analysis) -> None:
    family = [row for row in analysis.rows if row.family == "confirmatory"]
    assert len(family) == 6
    assert {row.task.name for row in family} == {"truth", "toxicity"}
    raw = sorted(row.comparison.effect.p_value for row in family if row.comparison is not None)
    smallest = min(row.p_adjusted for row in family if row.p_adjusted is not None)
    assert smallest == pytest.approx(6 * raw[0])


def test_clusters_without_a_name_are_clusters_of_their_own(analysis: Analysis) -> None:
    comparison = row_of(analysis, "truth", "helps").comparison
    assert comparison is not None
    assert comparison.grouping.n_unclustered == len([i for i in range(60, 300) if i % 29 == 0])
    assert comparison.effect.n_clusters == 12 + comparison.grouping.n_unclustered


def test_shares_of_the_variance_sum_to_one(analysis: Analysis) -> None:
    shares = [row.variance_shares for row in analysis.rows if row.comparison is not None]
    assert all(sum(s) == pytest.approx(1.0) for s in shares if s is not None)
    assert None not in shares


def test_ranks_leave_open_what_the_tests_leave_open(analysis: Analysis) -> None:
    assert row_of(analysis, "truth", "helps").rank == (1, 1)
    assert row_of(analysis, "truth", "none").rank == (2, 3)
    assert row_of(analysis, "truth", "nothing").rank == (2, 3)
    assert row_of(analysis, "truth", "harms").rank == (4, 4)
    assert row_of(analysis, "toxicity", "harms").rank == (1, 1)


def test_the_strength_response_has_every_planned_point(analysis: Analysis) -> None:
    points = [p for p in analysis.responses if (p.task.name, p.arm.method) == ("truth", "helps")]
    assert [(p.strength, p.n_chosen) for p in points] == [(1.0, 0), (2.0, 5), (4.0, 0)]
    assert all(p.score is not None and p.score.n_seeds == 5 for p in points)


def test_cost_is_the_mean_over_the_cells(analysis: Analysis) -> None:
    cost = row_of(analysis, "truth", "helps").cost
    assert (cost.tokens_per_second, cost.seconds) == (90.0, 2.0)


def test_displacement_is_the_mean_over_sites_and_cells(write: Write) -> None:
    moved = FakeMethod("moved", displacement={"12": 1.0, "14": 3.0})
    analysis = write(simple(methods=(moved, FakeMethod("unrecorded"))))
    assert row_of(analysis, "truth", "moved").displacement == 2.0
    assert row_of(analysis, "truth", "unrecorded").displacement is None


def test_reduced_training_is_marked(write: Write) -> None:
    """Beside what is said of the seeds, and with what it was short of."""
    short = FakeMethod("short", reduced={"epochs": [2, 100], "hidden": [16, 4096]})
    analysis = write(simple(methods=(short, FakeMethod("whole")), fit_seeds=(0, 1)))
    assert row_of(analysis, "truth", "short").cautions == ("too few seeds", "reduced training")
    assert row_of(analysis, "truth", "whole").cautions == ("too few seeds",)
    (note,) = analysis.notes
    assert note.startswith("short was trained on a reduced budget")
    assert "epochs 2 instead of 100, hidden 16 instead of 4096" in note


def test_the_same_rows_give_the_same_analysis(planted_run: RunFolder, analysis: Analysis) -> None:
    again = analyse(planted_run)
    assert [r.p_adjusted for r in again.rows] == [r.p_adjusted for r in analysis.rows]
    assert [r.verdict for r in again.rows] == [r.verdict for r in analysis.rows]


@pytest.mark.parametrize(
    ("seeds", "caution"), [((0,), "conditional on one seed"), ((0, 1), "too few seeds")]
)
def test_few_seeds_are_marked(write: Write, seeds: tuple[int, ...], caution: str) -> None:
    row = row_of(write(simple(fit_seeds=seeds)), "truth", "caa")
    assert row.caution == caution


@pytest.mark.parametrize(
    ("kind", "clusters", "n", "test"),
    [
        ("binary", None, 240, WITH_MCNEMAR),
        ("binary", None, 80, WITH_MCNEMAR),
        ("binary", 15, 240, "t over clusters, skewness-corrected"),
        ("bounded", None, 80, "t over items, skewness-corrected"),
        ("continuous", 15, 240, "t over clusters, skewness-corrected"),
    ],
)
def test_one_seed_has_the_test_that_suits_its_scores(
    write: Write, kind: str, clusters: int | None, n: int, test: str
) -> None:
    task = FakeTask("truth", kind=kind, n_clusters=clusters, n_test=n)
    row = row_of(write(simple(0.3, fit_seeds=(7,), tasks=(task,))), "truth", "caa")
    assert row.comparison is not None
    assert row.comparison.effect.test == test
    assert row.verdict is not None
    assert row.verdict.word == "better"
    assert row.variance_shares is None
    assert (row.comparison.discordant is None) == (kind != "binary")


def test_sample_seeds_are_averaged_within_a_fit_seed(write: Write) -> None:
    row = row_of(write(simple(0.3, fit_seeds=(0, 1, 2), sample_seeds=(0, 1))), "truth", "caa")
    assert row.comparison is not None
    assert row.comparison.effect.n_seeds == 3
    assert row.n_dropped_seeds == 0


@pytest.mark.slow
def test_without_selection_each_strength_is_a_marked_row(write: Write) -> None:
    run = dataclasses.replace(planted(), select=None)
    rows = [r for r in write(run).rows if (r.task.name, r.arm.method) == ("truth", "helps")]
    assert [set(r.strengths.values()) for r in rows] == [{1.0}, {2.0}, {4.0}]
    assert {r.how_chosen for r in rows} == {"not chosen on validation items"}
    assert rows[1].name == "helps (layer 14), strength 2"


def test_without_validation_items_nothing_can_be_chosen(write: Write) -> None:
    run = planted()
    task = dataclasses.replace(run.tasks[0], n_validation=0)
    rows = list(write(dataclasses.replace(run, tasks=(task,))).rows)
    assert {r.how_chosen for r in rows if r.arm.method == "helps"} == {
        "not chosen on validation items"
    }


def test_a_grid_metric_that_a_task_lacks_is_said(analysis: Analysis) -> None:
    assert any("toxicity has no metric acc" in note for note in analysis.notes)


def test_perplexities_are_compared_as_ratios(write: Write) -> None:
    task = FakeTask(
        "ppl", metric="perplexity", kind="ratio", role="capability", margin=0.05,
        higher_is_better=False,
    )  # fmt: skip
    harmless = row_of(write(simple(0.0, tasks=(task,))), "ppl", "caa")
    harmful = row_of(write(simple(0.3, tasks=(task,))), "ppl", "caa")
    assert harmless.verdict is not None
    assert harmless.verdict.word == "equivalent"
    assert harmless.verdict.sentence.startswith("× ")
    assert harmful.verdict is not None
    assert harmful.verdict.word == "worse"
    assert harmful.comparison is not None
    assert np.exp(harmful.comparison.effect.estimate) == pytest.approx(np.exp(0.3), rel=0.05)
    assert harmful.score is not None
    assert harmful.score.mean == pytest.approx(np.exp(3.3), rel=0.2)


def test_an_infinite_perplexity_is_shown_and_not_tested(write: Write) -> None:
    task = FakeTask("ppl", metric="perplexity", kind="ratio", higher_is_better=False)

    def overflow(cell: dict[str, Any], values: Floats) -> Floats:
        return np.where((cell["method"] == "caa") & (np.arange(300) == 299), np.inf, values)

    methods = (FakeMethod("caa"), FakeMethod("repe"))
    analysis = write(simple(tasks=(task,), methods=methods, value=overflow))
    row = row_of(analysis, "ppl", "caa")
    assert row.score is not None
    assert row.score.mean == np.inf
    assert (row.comparison, row.verdict, row.rank) == (None, None, None)
    assert "infinite" in row.untested
    assert row_of(analysis, "ppl", "repe").rank is not None


def test_each_fold_and_seed_is_a_fit(write: Write) -> None:
    run = simple(tasks=(FakeTask("truth", kind="continuous", n_folds=2),))
    comparison = row_of(write(run), "truth", "caa").comparison
    assert comparison is not None
    assert comparison.grouping.n_folds == 2


def test_failed_cells_are_counted_and_never_hidden(write: Write) -> None:
    analysis = write(
        simple(0.4, fails=lambda cell: cell["fit_seed"] in (1, 3), methods=(
            FakeMethod("caa", (1.0,), lambda task, strength: 0.4), FakeMethod("repe"),
        ))
    )  # fmt: skip
    row = row_of(analysis, "truth", "caa")
    assert row.comparison is not None
    assert row.comparison.effect.n_seeds == 3
    assert row.n_dropped_seeds == 2
    assert (analysis.cells.done, analysis.cells.failed) == (7, 4)
    assert len(analysis.failures) == 4
    assert analysis.failures[0].error == "CellError: the layer <14> is gone"
    assert {failure.setting for failure in analysis.failures} == {
        "caa T=1 on truth, tiny",
        "repe T=1 on truth, tiny",
    }


def test_with_most_cells_failed_the_rest_is_right(tmp_path: Path) -> None:
    """60 % of the cells fail: every row is the plain mean over the seeds that are left."""
    methods = (FakeMethod("caa", (1.0,), lambda t, s: 0.4), FakeMethod("repe"), FakeMethod("iti"))
    run = simple(methods=methods, fit_seeds=tuple(range(10)))

    def fails(cell: dict[str, Any]) -> bool:
        return cell["fit_seed"] is not None and (3 * cell["fit_seed"]) % 10 < 6

    folder = write_run(dataclasses.replace(run, fails=fails), tmp_path)
    analysis = analyse(folder)
    assert (analysis.cells.done, analysis.cells.failed) == (1 + 3 * 4, 3 * 6)
    frame = folder.read_items().to_pandas()
    frame = frame[frame["split"] == "test"]
    means = frame.groupby("method")["value"].mean()
    for method in ("caa", "repe", "iti"):
        row = row_of(analysis, "truth", method)
        assert row.comparison is not None
        assert row.comparison.effect.estimate == pytest.approx(means[method] - means["none"])
        assert (row.comparison.effect.n_seeds, row.n_dropped_seeds) == (4, 6)
    assert word(analysis, "truth", "caa") == "better"
    assert word(analysis, "truth", "repe") == "inconclusive"


def test_an_arm_without_a_finished_cell_stays_in_the_family(write: Write) -> None:
    def fails(cell: dict[str, Any]) -> bool:
        return bool(cell["method"] == "repe")

    methods = (FakeMethod("caa"), FakeMethod("repe"))
    analysis = write(simple(methods=methods, fails=fails))
    lost, tested = row_of(analysis, "truth", "repe"), row_of(analysis, "truth", "caa")
    assert (lost.score, lost.verdict) == (None, None)
    assert lost.untested == "none of its cells finished"
    assert lost.family == "confirmatory"
    assert tested.comparison is not None
    assert tested.p_adjusted == pytest.approx(min(1, 2 * tested.comparison.effect.p_value))


@pytest.mark.parametrize("gone", ["failed", "unplanned"])
def test_without_a_baseline_nothing_is_compared(write: Write, gone: str) -> None:
    run = simple(methods=(FakeMethod("caa"), FakeMethod("repe", (1.0,), lambda t, s: 1.0)))
    if gone == "failed":
        run = dataclasses.replace(run, fails=lambda cell: cell["method"] == "none")
    else:
        run = dataclasses.replace(run, baseline=False)
    row = row_of(write(run), "truth", "repe")
    assert row.score is not None
    assert row.untested == "the baseline has no finished cell"
    assert (row.verdict, row.rank) == (None, (1, 1))


def test_items_that_one_arm_lacks_are_dropped_from_all_and_counted(tmp_path: Path) -> None:
    run = simple(methods=(FakeMethod("caa"), FakeMethod("repe")))
    folder = RunFolder(tmp_path)
    folder.create()
    cells = list(cells_of(run))
    folder.write_manifest(manifest_of(run, cells))
    for cell in cells:
        items = item_table(run, run.tasks[0], cell)
        lacks = (cell["method"], cell["fit_seed"]) == ("caa", 2)
        present = items.slice(0, 290) if lacks else items
        responses = response_table(cell, present["item_id"].to_pylist())
        folder.write_cell(cell["cell_id"], present, responses, facts())
    analysis = analyse(folder)
    rows = [row for row in analysis.rows if row.task.name == "truth"]
    assert {row.n_dropped_items for row in rows} == {10}
    assert {row.score.n_items for row in rows if row.score} == {230}, "the baseline's too"
    (repe,) = [row for row in rows if row.arm.method == "repe"]
    assert repe.comparison is not None
    assert repe.comparison.effect.n_items == 230, "an arm that lacks nothing pairs on them too"
    assert analysis.notes == (
        "10 of 240 test items of truth are left out of every row of tiny, since some arm has no "
        "score for them: caa (layer 14) lacks 10.",
    )


@pytest.mark.parametrize("kind", ["binary", "bounded", "continuous", "ratio"])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_one_item_shows_nothing(write: Write, kind: str, seeds: tuple[int, ...]) -> None:
    task = FakeTask("truth", kind=kind, n_test=1)
    row = row_of(write(simple(0.9, tasks=(task,), fit_seeds=seeds)), "truth", "caa")
    assert row.verdict is not None
    assert row.verdict.word == "inconclusive"
    assert row.p_adjusted is not None
    assert row.p_adjusted > 0.2


@pytest.mark.parametrize("kind", ["binary", "bounded", "continuous"])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_constant_scores_show_nothing(write: Write, kind: str, seeds: tuple[int, ...]) -> None:
    run = simple(
        tasks=(FakeTask("truth", kind=kind, n_test=40),),
        value=lambda cell, values: np.ones_like(values),
        fit_seeds=seeds,
    )
    row = row_of(write(run), "truth", "caa")
    assert row.score is not None
    assert row.score.mean == 1.0
    assert row.verdict is not None
    assert row.verdict.word == "inconclusive"
    assert row.verdict.sentence.startswith("+0.0")


def test_twenty_equal_answers_do_not_prove_that_a_capability_is_kept(write: Write) -> None:
    for seeds in ((0,), (0, 1, 2)):
        task = FakeTask("arc", role="capability", margin=0.01, n_test=20, n_validation=0)
        ones = simple(tasks=(task,), fit_seeds=seeds, value=lambda c, v: np.ones_like(v))
        assert word(write(ones), "arc", "caa") == "inconclusive"


def test_a_margin_of_a_target_is_its_least_effect_of_interest(write: Write) -> None:
    def verdict(effect: float, margin: float) -> str | None:
        task = FakeTask("truth", kind="continuous", margin=margin)
        return word(write(simple(effect, tasks=(task,), noise=0.1)), "truth", "caa")

    assert verdict(0.3, 0.1) == "better and meaningful"
    assert verdict(0.3, 0.3) == "better"
    assert verdict(0.0, 0.2) == "equivalent"


def test_replication_across_models(write: Write) -> None:
    run = simple(0.5, models=("a", "b", "c"))
    result = [r for r in write(run).replications if r.across == "models"]
    assert [(r.arm, r.where, r.at_least) for r in result] == [("caa", "truth", 3)]
    assert result[0].sentence.startswith("improves in at least 3 of 3 models")
    broken = dataclasses.replace(run, fails=lambda cell: cell["model"] == "b")
    assert [r.at_least for r in write(broken).replications] == [2]


def test_rows_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    run = simple()
    folder = write_run(run, tmp_path)
    cell = list(cells_of(run))[1]
    items = item_table(run, run.tasks[0], cell)
    index = items.schema.get_field_index("split")
    leaked = items.set_column(index, items.schema.field(index), pa.array(["test"] * 300))
    responses = response_table(cell, items["item_id"].to_pylist())
    folder.write_cell(cell["cell_id"], leaked, responses, facts())
    with pytest.raises(StoreError, match="says another split of item"):
        analyse(folder)


def test_a_manifest_that_lacks_something_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    text = json.dumps({"schema_version": 1, "name": "x", "cells": [], "tasks": {}, "methods": {}})
    (folder.path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json: .*'analysis'"):
        analyse(folder)


def test_an_empty_run_has_an_empty_analysis(tmp_path: Path) -> None:
    run = simple()
    folder = RunFolder(tmp_path)
    folder.create()
    cells = list(cells_of(run))
    folder.write_manifest(manifest_of(run, cells))
    analysis = analyse(folder)
    assert analysis.cells.pending == len(cells)
    assert {row.untested for row in analysis.rows} == {"none of its cells finished"}


@pytest.mark.slow
def test_useless_methods_are_hardly_ever_called_better(write: Write) -> None:
    """12 models, three useless methods with two strengths: Holm holds each family at 5 %."""
    methods = tuple(FakeMethod(f"m{i}", (1.0, 2.0)) for i in range(3))
    task = FakeTask("truth", kind="continuous", n_validation=40, n_test=60)
    models = tuple(f"model{i}" for i in range(12))
    run = simple(methods=methods, tasks=(task,), models=models, fit_seeds=(0, 1, 2))
    rows = [row for row in write(run).rows if row.verdict is not None]
    wrong = {row.model for row in rows if row.verdict and row.verdict.word != "inconclusive"}
    assert len(rows) == 36
    # binomial(12, 0.05): three or more in 2 % of all runs; the draws are fixed
    assert len(wrong) <= 2
